"""What is done to log lines of libraries: repeats and first retries are held back, class reprs become names."""

import logging
import re
import time
from collections.abc import Callable

LIBRARIES = ("faust", "mode", "aiokafka", "kafka", "asyncio", "uvicorn")

_REPEAT_S = 10.0
# Trouble that a library retries by itself is no news before this; a broker that has just begun needs some seconds to
# find its own coordinators, and answers so meanwhile.
_PATIENCE_S = 5.0
# After so long without a complaint, the next one is another trouble.
_FORGIVEN_S = 30.0
_RETRIED = re.compile(r"retrying\b|Coordinator Request failed|will retry", re.IGNORECASE)

_REPRS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"TopicPartition\(topic=['\"]([^'\"]*)['\"], partition=(\d+)\)"), r"\1/\2"),
    (re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>"), r"\1"),
    (re.compile(r"<AIOKafkaConnection host=([^\s>]+) port=(\d+)>"), r"\1:\2"),
    (re.compile(r"<(?:[\w.]*\.)?(\w+)(?: object)? at 0x[0-9a-f]+>"), r"\1"),
    # Faust's services, which are nested by dashes in the label and by their state in the repr.
    (re.compile(r"<(\w+)(?:\([^<>]*\))?: [^<>]*>"), r"\1"),
    (re.compile(r"^\[\^-*(\w+)\]: "), r"\1: "),
)


def is_of_library(record: logging.LogRecord) -> bool:
    """Tell whether a library wrote a line."""
    return record.name.split(".")[0] in LIBRARIES


class OncePerWhile(logging.Filter):
    """Lets one line of each place in a library through per while, and says how many were left out.

    Args:
        every_s: The while.
        seconds: Monotonic clock.
    """

    def __init__(self, every_s: float = _REPEAT_S, seconds: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._seconds = seconds
        self._shown: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one record; our own always pass, and so do exceptions."""
        if not is_of_library(record) or record.exc_info:
            return True
        place, now_s = (record.name, record.lineno), self._seconds()
        shown_at_s, left_out = self._shown.get(place, (-self._every_s, 0))
        if now_s - shown_at_s < self._every_s:
            self._shown[place] = (shown_at_s, left_out + 1)
            return False
        self._shown[place] = (now_s, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like it before)", ()
        return True


class RetriedForLong(logging.Filter):
    """Holds back what a library says of trouble that it retries by itself, until the trouble has lasted.

    A healthy one-node Kafka answers the first transaction with `NotEnoughReplicasError`, because the partition's leader
    has no connection to the transaction's coordinator yet; the second try succeeds. What goes on for seconds is real.

    Args:
        patience_s: How long trouble may last unsaid.
        seconds: Monotonic clock.
    """

    def __init__(self, patience_s: float = _PATIENCE_S, seconds: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._patience_s = patience_s
        self._seconds = seconds
        self._troubles: dict[tuple[str, int], tuple[float, float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one record; only a library's, and only of retries, are held back."""
        if not is_of_library(record) or record.exc_info or not _RETRIED.search(record.getMessage()):
            return True
        place, now_s = (record.name, record.lineno), self._seconds()
        begun_s, last_s = self._troubles.get(place, (now_s, now_s))
        if now_s - last_s > _FORGIVEN_S:
            begun_s = now_s
        self._troubles[place] = (begun_s, now_s)
        return now_s - begun_s >= self._patience_s


def name_things(record: logging.LogRecord) -> bool:
    """Write names where a library's line has class reprs; a filter that lets every record pass."""
    if is_of_library(record):
        text = record.getMessage()
        for pattern, name in _REPRS:
            text = pattern.sub(name, text)
        record.msg, record.args = text, ()
    return True
