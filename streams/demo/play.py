"""Plays a log onto the topics while a thread reads the answers."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from sidestream.models.data import LogFolder, LogRow
from sidestream.streams.client import CandidateStream, SidestreamClient
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.demo.ledger import Ledger
from sidestream.streams.errors import SidestreamError
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.kafka.tail import RecordFollower
from sidestream.streams.replay import Player, Progress, Publisher, ReplaySettings

POLL_S = 0.05


class AnswerReader:
    """Reads candidate sets, and the topics by which they are judged, into a ledger.

    Each topic has a thread of its own: no answer waits for an item.

    Args:
        kafka: The Kafka.
        topics: Names of the topics.
        ledger: Where they go.
    """

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings, ledger: Ledger) -> None:
        self._client = SidestreamClient(kafka, topics)
        self._stream: CandidateStream = self._client.consume_candidates()
        of_topics, clients = self._client.topics, Clients(kafka)
        self._items = RecordFollower(clients, of_topics.item_sids.name)
        self._listens = RecordFollower(clients, of_topics.listens.name)
        self._erasures = RecordFollower(clients, of_topics.user_erasures.name)
        self._ledger = ledger
        ledger.reading_from(self._items.starts, self._listens.starts)
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(read,), name=name, daemon=True)
            for name, read in (
                ("answers", self._read_answers),
                ("item-sids", lambda: ledger.published(self._items.poll(100))),
                ("listens", lambda: ledger.listened(self._listens.poll(100))),
                ("erasures", lambda: ledger.erased(self._erasures.poll(100))),
            )
        ]
        for thread in self._threads:
            thread.start()

    def wait(self, quiet_s: float) -> None:
        """Wait until every session-start is answered and every answer judged, as long as some still come.

        Args:
            quiet_s: Give up after so long without any.

        Raises:
            SidestreamError: Reading failed.
        """
        seen = (-1, -1)
        deadline = 0.0
        while self._ledger.unanswered or self._ledger.unjudged:
            now = (self._ledger.num_answered, self._ledger.unjudged)
            if now != seen:
                seen, deadline = now, time.monotonic() + quiet_s
            if self._failure is not None or time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        if self._failure is not None:
            msg = f"candidates cannot be read: {self._failure!r}; check that the broker is up"
            raise SidestreamError(msg) from self._failure

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
        self._stream.close()
        for follower in (self._items, self._listens, self._erasures):
            follower.close()
        self._client.close()

    def _run(self, read: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                read()
        except Exception as exc:  # noqa: BLE001 - told to whoever waits
            self._failure = exc

    def _read_answers(self) -> None:
        for answer in self._stream.poll(100):
            self._ledger.received(answer)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the log.

    Attributes:
        number: 0 for the first; later ones get ids and times of their own, as a listener's next weeks would.
        seconds: How long it takes.
        span_ms: Log time from the first row to the last.
        base_shift_ms: Added to all times of the first pass.
    """

    number: int
    seconds: float
    span_ms: int
    base_shift_ms: int = 0

    @property
    def settings(self) -> ReplaySettings:
        """Speed and shift of the pass."""
        speed = self.span_ms / 1_000 / self.seconds
        return ReplaySettings(speed=speed, shift_ms=self.base_shift_ms + self.number * (self.span_ms + 1))


class TimeLeft:
    """Tells how long a pass will take: as planned, or longer where this machine does not keep up.

    Args:
        how: The pass.
        first_at: Log time of its first row.
        seconds: Monotonic clock.
    """

    def __init__(self, how: Pass, first_at: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._how = how
        self._first_at = first_at
        self._seconds = seconds
        self._begun: tuple[float, float] | None = None

    def left_s(self, at: int | None) -> float:
        """Estimate what is left.

        Args:
            at: Log time of the latest row, not shifted; None before the first.

        Returns:
            Seconds.
        """
        played = min(max(((at or self._first_at) - self._first_at) / self._how.span_ms, 0.0), 1.0)
        now_s = self._seconds()
        if self._begun is None or played <= self._begun[1]:
            # Until the first listens the catalogue is waited for, which says nothing of the speed.
            self._begun = (now_s, played)
            return self._how.seconds * (1.0 - played)
        begun_s, begun = self._begun
        return max(self._how.seconds, (now_s - begun_s) / (played - begun)) * (1.0 - played)


class _Watched:
    """Notes rows in the ledger on their way out, and renames events of later passes."""

    def __init__(self, publisher: Publisher, ledger: Ledger, number: int) -> None:
        self._publisher = publisher
        self._ledger = ledger
        self._number = number

    async def publish(self, rows: Sequence[LogRow]) -> None:
        """Send rows, noted."""
        outgoing = rows if self._number == 0 else [_renamed(row, self._number) for row in rows]
        self._ledger.sending(outgoing)
        await self._publisher.publish(outgoing)


async def play(
    folder: LogFolder,
    publisher: Publisher,
    ledger: Ledger,
    how: Pass,
    catalogue_ready: Callable[[int], bool],
    on_progress: Callable[[Progress], None],
) -> None:
    """Play a log once.

    Listening begins when the worker knows the items that were there from the start.

    Args:
        folder: The log.
        publisher: Where rows go.
        ledger: What notes them.
        how: Which pass it is, and how long it takes.
        catalogue_ready: Whether the worker's catalogue holds so many items; raises where it never will.
        on_progress: Called after every batch.
    """
    opening = sum(event.at <= (folder.manifest.first_at or 0) for event in folder.catalog())
    player = Player(
        folder,
        _Watched(publisher, ledger, how.number),
        how.settings,
        on_progress=lambda at: _on_progress(at),
    )
    waiting: list[asyncio.Task[None]] = []

    async def resume_when_known() -> None:
        try:
            # Asked in short calls: one long wait in a thread would outlive Ctrl-C.
            while not await asyncio.to_thread(catalogue_ready, ledger.num_items):  # noqa: ASYNC110 - another process's page
                await asyncio.sleep(POLL_S)
        except BaseException:
            player.stop()
            raise
        player.resume()

    def _on_progress(at: Progress) -> None:
        on_progress(at)
        if how.number == 0 and at.published >= opening and not waiting:
            player.pause()
            waiting.append(asyncio.create_task(resume_when_known()))

    await player.play()
    for task in waiting:
        await task


def _renamed(row: LogRow, number: int) -> LogRow:
    if row.value is None or row.topic == "catalog":
        return row
    fields = msgspec.json.decode(row.value)
    for name in ("event_id", "session_id"):
        if fields.get(name):
            fields[name] = f"{fields[name]}~{number}"
    return row._replace(value=msgspec.json.encode(fields))
