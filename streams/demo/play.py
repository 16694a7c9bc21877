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
from sidestream.streams.kafka.clients import KafkaSettings
from sidestream.streams.replay import Player, Publisher, ReplaySettings

POLL_S = 0.05


class AnswerReader:
    """Reads candidate sets into a ledger, in a thread of its own.

    Args:
        kafka: The Kafka.
        topics: Names of the topics.
        ledger: Where answers go.
    """

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings, ledger: Ledger) -> None:
        self._client = SidestreamClient(kafka, topics)
        self._stream: CandidateStream = self._client.consume_candidates()
        self._ledger = ledger
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until every session-start has its answer, or the time is up.

        Args:
            timeout_s: Deadline.

        Raises:
            SidestreamError: Reading failed.
        """
        deadline = time.monotonic() + timeout_s
        while self._ledger.unanswered and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(POLL_S)
        if self._failure is not None:
            msg = f"candidates cannot be read: {self._failure!r}"
            raise SidestreamError(msg) from self._failure

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(10)
        self._client.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for answer in self._stream.poll(100):
                    self._ledger.received(answer)
        except Exception as exc:  # noqa: BLE001 - told to whoever waits
            self._failure = exc
        finally:
            self._stream.close()


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the log.

    Attributes:
        number: 0 for the first; later ones get ids and times of their own, as a listener's next weeks would.
        seconds: How long it takes.
        span_ms: Log time from the first row to the last.
    """

    number: int
    seconds: float
    span_ms: int

    @property
    def settings(self) -> ReplaySettings:
        """Speed and shift of the pass."""
        speed = self.span_ms / 1_000 / self.seconds
        return ReplaySettings(speed=speed, shift_ms=self.number * (self.span_ms + 1))


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
    on_progress: Callable[[int, int], None],
) -> None:
    """Play a log once.

    Listening begins when the worker knows the items that were there from the start.

    Args:
        folder: The log.
        publisher: Where rows go.
        ledger: What notes them.
        how: Which pass it is, and how long it takes.
        catalogue_ready: Whether the worker's catalogue holds so many items; raises where it never will.
        on_progress: Called with rows published and rows in all.
    """
    opening = sum(event.at <= (folder.manifest.first_at or 0) for event in folder.catalog())
    player = Player(
        folder,
        _Watched(publisher, ledger, how.number),
        how.settings,
        on_progress=lambda at: _on_progress(at.published, at.total),
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

    def _on_progress(published: int, total: int) -> None:
        on_progress(published, total)
        if how.number == 0 and published >= opening and not waiting:
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
