"""Plays a log folder onto the topics: in total order, at any speed, resumed at the saved position.

Rows are sent in batches. The position is saved only when a whole batch is acknowledged, so a crash repeats at most one
batch, and a batch has no more listens of one user than the user's state has event ids: repeats are never folded.

A batch has either catalogue rows or events, never both: a publisher may wait between them until new items are known.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sidestream.models.data import Cursor, LogFolder, LogRow
from sidestream.streams.replay.position import PositionFile
from sidestream.streams.replay.rows import session_after, shifted
from sidestream.streams.replay.settings import ReplaySettings

# Longest delay until a pause, a stop or a waiting row is noticed.
CHECK_S = 0.2
# Timers are no finer than this, and rows this close may be sent together.
SHORTEST_WAIT_S = 0.001


class Publisher(Protocol):
    """The target of the rows: Kafka, or a list in tests."""

    async def publish(self, rows: Sequence[LogRow]) -> None:
        """Send rows in this order; return once every one is acknowledged."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a replay.

    Attributes:
        published: Rows acknowledged so far, including those of earlier runs.
        total: Rows of the whole log.
        at: Log time of the last row; None before the first.
        sent: Rows of this run by topic, including session-starts after held-out listens.
        done: Whether all rows are published.
    """

    published: int
    total: int
    at: int | None
    sent: dict[str, int]
    done: bool


class Player:
    """Plays one folder once.

    Args:
        folder: The log.
        publisher: Sends the rows.
        settings: Speed and batches.
        position: Where the position is kept; None keeps none and starts at the beginning.
        on_progress: Called after every batch.
        seconds: Monotonic clock in seconds.
        sleep: Sleeps for a number of seconds.
    """

    def __init__(
        self,
        folder: LogFolder,
        publisher: Publisher,
        settings: ReplaySettings | None = None,
        *,
        position: PositionFile | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        seconds: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._folder = folder
        self._publisher = publisher
        self._settings = settings or ReplaySettings()
        self._position = position
        self._on_progress = on_progress
        self._seconds = seconds
        self._sleep = sleep
        self._cursor = Cursor()
        self._sent: Counter[str] = Counter()
        self._at: int | None = None
        self._paused = False
        self._stopped = False
        # Log time and wall time of the same moment; set again after every pause.
        self._anchor: tuple[int, float] | None = None

    def pause(self) -> None:
        """Send nothing from the next batch on, until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Continue after `pause` at the same speed: the log time did not advance."""
        self._paused = False

    def stop(self) -> None:
        """End `play` after the batch in flight; a later player continues from the position file."""
        self._stopped = True

    @property
    def progress(self) -> Progress:
        """The current progress."""
        counts, catalog = self._folder.manifest.counts, self._folder.manifest.files["catalog.jsonl"].lines
        total = catalog + counts.listens + counts.sessions
        if self._settings.heldout:
            total += counts.heldout_test + counts.heldout_valid
        published = self._cursor.rows
        return Progress(published, total, self._at, dict(self._sent), published >= total)

    async def play(self) -> Progress:
        """Play the remaining rows.

        Returns:
            The progress at the end: `done` unless it was stopped.

        Raises:
            DataError: A line is malformed, or the position belongs to another folder. Rows acknowledged before the
                error stay acknowledged.
        """
        if self._position is not None:
            self._cursor = self._position.load()
        batch: list[LogRow] = []
        listens: Counter[str] = Counter()
        for row in self._folder.merged(self._cursor, heldout=self._settings.heldout):
            if batch and (self._is_full(batch, listens, row) or self._wait_s(row) > 0):
                await self._flush(batch)
                batch, listens = [], Counter()
            await self._until_due(row)
            if self._stopped:
                break
            batch.append(row)
            if row.topic != "sessions":
                listens[row.key] += 1
        if batch:
            await self._flush(batch)
        self._save(durable=True)
        return self.progress

    def _is_full(self, batch: Sequence[LogRow], listens: Counter[str], row: LogRow) -> bool:
        """Whether a batch must be sent before a row is added."""
        return (
            len(batch) >= self._settings.max_batch
            or (row.topic == "catalog") != (batch[-1].topic == "catalog")
            or listens[row.key] >= self._settings.max_batch_per_user
            or self._paused
            or self._stopped
        )

    def _wait_s(self, row: LogRow) -> float:
        if self._settings.speed == 0:
            return 0.0
        if self._anchor is None:
            self._anchor = (row.at, self._seconds())
        at, started_s = self._anchor
        wait_s = (row.at - at) / 1_000 / self._settings.speed - (self._seconds() - started_s)
        return wait_s if wait_s >= SHORTEST_WAIT_S else 0.0

    async def _until_due(self, row: LogRow) -> None:
        while not self._stopped:
            if self._paused:
                self._anchor = None
                await self._sleep(CHECK_S)
                continue
            wait_s = self._wait_s(row)
            if wait_s <= 0:
                return
            await self._sleep(min(wait_s, CHECK_S))

    async def _flush(self, batch: Sequence[LogRow]) -> None:
        outgoing = list(self._outgoing(batch))
        await self._publisher.publish(outgoing)
        for row in batch:
            self._cursor.advance(row)
        self._sent.update(row.topic for row in outgoing)
        self._at = batch[-1].at
        self._save(durable=False)
        if self._on_progress is not None:
            self._on_progress(self.progress)

    def _save(self, *, durable: bool) -> None:
        if self._position is not None:
            self._position.save(self._cursor, durable=durable)

    def _outgoing(self, batch: Sequence[LogRow]) -> Iterator[LogRow]:
        for row in batch:
            # Validation rows repeat listens that are in the log anyway.
            if row.topic == "heldout" and row.value is None:
                continue
            yield shifted(row, self._settings.shift_ms)
            if row.topic == "heldout" and self._settings.session_after_heldout:
                yield shifted(session_after(row), self._settings.shift_ms)
