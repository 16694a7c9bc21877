"""Filters for log lines of libraries: suppress repeats and short retries, replace object reprs by names."""

import logging
import re
import time
from collections.abc import Callable

LIBRARIES = ("faust", "mode", "aiokafka", "kafka", "asyncio", "uvicorn")

_REPEAT_S = 10.0
# Failures that a library retries are not logged before this; a broker that has just started needs some seconds to find
# its own coordinators, and reports errors until then.
_PATIENCE_S = 5.0
# What is retried comes back within the library's back-off, heartbeats within 3 s: after this long without a line, the
# next one is a new failure. A producer tries again after 0.1 s, and a busy one has short failures every few seconds.
_FORGIVEN_S, _PRODUCER_FORGIVEN_S = 5.0, 1.0
_PRODUCER = "aiokafka.producer.sender"
# By then it has lasted for the request's limit, 30 s by default.
_TIMED_OUT = re.compile(r"RequestTimedOut|TimeoutError|timed out", re.IGNORECASE)
# How a member learns that another one joins or leaves.
_REBALANCING = "because it is rebalancing"
_RETRIED = re.compile(r"retrying\b|Coordinator Request failed|will re(?:try|join)", re.IGNORECASE)

_PARTITION = re.compile(r"TopicPartition\(topic=['\"]([^'\"]*)['\"], partition=(\d+)\)")
_REPRS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_PARTITION, r"\1/\2"),
    (re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>"), r"\1"),
    (re.compile(r"<AIOKafkaConnection host=([^\s>]+) port=(\d+)>"), r"\1:\2"),
    (re.compile(r"<(?:[\w.]*\.)?(\w+)(?: object)? at 0x[0-9a-f]+>"), r"\1"),
    # Faust's services, which are nested by dashes in the label and by their state in the repr.
    (re.compile(r"<(\w+)(?:\([^<>]*\))?: [^<>]*>"), r"\1"),
    (re.compile(r"^\[\^-*_*(\w+)\]: "), r"\1: "),
)


# How mode labels a line of a service. It logs lines of our subclasses of its services under our modules' names.
_SERVICE_LABEL = "[^"


def is_library_record(record: logging.LogRecord) -> bool:
    """Return whether a library logged the record."""
    return record.name.split(".")[0] in LIBRARIES or str(record.msg).startswith(_SERVICE_LABEL)


class RepeatFilter(logging.Filter):
    """Passes one record per call site of a library and interval, and adds how many were suppressed.

    Args:
        every_s: Length of the interval.
        seconds: Monotonic clock.
    """

    def __init__(self, every_s: float = _REPEAT_S, seconds: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._seconds = seconds
        self._shown: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one record; our own records and exceptions always pass."""
        if not is_library_record(record) or record.exc_info:
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


class RetryFilter(logging.Filter):
    """Suppresses records about failures that a library retries, until the failure has lasted for a while.

    A healthy Kafka answers a transaction with `NotEnoughReplicasError` while the partition's leader has no connection
    to the transaction's coordinator yet; the retry succeeds. A failure of one partition that lasts seconds is real.

    Args:
        patience_s: How long a failure may last before it is logged.
        seconds: Monotonic clock.
    """

    def __init__(self, patience_s: float = _PATIENCE_S, seconds: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._patience_s = patience_s
        self._seconds = seconds
        self._troubles: dict[tuple[str, int, frozenset[str]], tuple[float, float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one record; only a library's records about retries are suppressed."""
        text = record.getMessage()
        if not is_library_record(record) or record.exc_info or not _RETRIED.search(text) or _TIMED_OUT.search(text):
            return True
        partitions = frozenset(found.group() for found in _PARTITION.finditer(text))
        place, now_s = (record.name, record.lineno, partitions), self._seconds()
        begun_s, last_s = self._troubles.get(place, (now_s, now_s))
        if now_s - last_s > (_PRODUCER_FORGIVEN_S if record.name == _PRODUCER else _FORGIVEN_S):
            begun_s = now_s
        self._troubles[place] = (begun_s, now_s)
        return now_s - begun_s >= self._patience_s


def drop_rebalances(record: logging.LogRecord) -> bool:
    """Suppress the warning that the group rebalances, which is how it takes in a new member."""
    return not (is_library_record(record) and _REBALANCING in record.getMessage())


def shorten_reprs(record: logging.LogRecord) -> bool:
    """Replace object reprs by names in a library's record; a filter that lets every record pass."""
    if is_library_record(record):
        text = record.getMessage()
        for pattern, name in _REPRS:
            text = pattern.sub(name, text)
        record.msg, record.args = text, ()
    return True
