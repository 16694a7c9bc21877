"""Outages of Kafka as the parts of a worker see them: told once, shown by the readiness, counted, retried with backoff.

A part is a client or a group of them, such as the catalogue's reader. Brokers restart and leaders move in every
installation: for a part that is an outage, not an error, and it ends by itself.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
# Shorter ones are part of every leader change: they are counted, and neither logged nor shown.
SHOWN_AFTER_S = 1.0


class Outage:
    """The outages of one part, one after the other.

    Args:
        part: Name shown in messages.
        on_begin: Called with the name at the beginning of each outage.
        seconds: Monotonic clock.
    """

    def __init__(self, part: str, on_begin: Callable[[str], None], seconds: Callable[[], float]) -> None:
        self._part, self._on_begin, self._seconds = part, on_begin, seconds
        self._begun_s: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._reason = ""
        self._is_told = False
        self._telling: asyncio.TimerHandle | None = None

    @property
    def is_on(self) -> bool:
        """Whether one is in progress."""
        return self._begun_s is not None

    def begin(self, reason: object) -> None:
        """Note a failure; the first one begins an outage. Called on the event loop.

        Args:
            reason: Error or text.
        """
        self._reason = " ".join(str(reason).split()) or repr(reason)
        if self._begun_s is None:
            self._begun_s, self._pause_s = self._seconds(), FIRST_PAUSE_S
            self._telling = asyncio.get_running_loop().call_later(SHOWN_AFTER_S, self._tell)
            self._on_begin(self._part)

    async def wait(self, reason: object) -> None:
        """Note a failure and wait before the next attempt, longer after each.

        Args:
            reason: Error or text.
        """
        self.begin(reason)
        pause_s, self._pause_s = self._pause_s, min(LONGEST_PAUSE_S, 2 * self._pause_s)
        await asyncio.sleep(pause_s)

    def end(self) -> None:
        """Note a success, which ends an outage."""
        if self._telling is not None:
            self._telling.cancel()
        if self._is_told:
            _log("info", "Kafka is back", part=self._part, after_s=round(self._lasts_s(), 1))
        self._begun_s, self._is_told = None, False

    def not_ready(self) -> list[str]:
        """Return a reason during an outage."""
        if not self._is_told:
            return []
        return [f"{self._part}: waits for Kafka since {self._lasts_s():.0f} s: {self._reason}"]

    def _tell(self) -> None:
        self._is_told = True
        _log("warning", "Kafka is away, retrying", part=self._part, reason=self._reason)

    def _lasts_s(self) -> float:
        return 0.0 if self._begun_s is None else self._seconds() - self._begun_s


class Outages:
    """The outages of all parts of a process.

    Args:
        seconds: Monotonic clock.

    Attributes:
        on_begin: Called with the part's name at the beginning of each outage.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._parts: dict[str, Outage] = {}
        self.on_begin: Callable[[str], Any] = lambda part: None

    def of(self, part: str) -> Outage:
        """Return the outages of a part; the same object for the same name."""
        if part not in self._parts:
            self._parts[part] = Outage(part, lambda name: self.on_begin(name), self._seconds)
        return self._parts[part]

    def not_ready(self) -> list[str]:
        """Return a reason for each part that waits for Kafka."""
        return [reason for outage in self._parts.values() for reason in outage.not_ready()]


def _log(level: str, event: str, **fields: Any) -> None:
    # Importing structlog takes a third of a second, which would delay commands that have no outages.
    from sidestream.streams.runtime.logs.log import get_log

    getattr(get_log(__name__), level)(event, **fields)
