"""Reads the session-starts of the owned partitions, which come and go: each is positioned and read by itself.

Each step of a partition depends on the one before: 1. its start: what the group has committed, or else the end or the
beginning (`session.start`), which is committed before anything is answered or skipped: the heir of a worker that dies
before its first commit would otherwise start at a later end, 2. the session-starts are read: those that are published
from now on at once, those that waited beside them (`deferred`), and of these the ones that are probably too old (`age`)
last. While a partition is blocked, above all until the listen lane has restored its states, the newest are held
(`held`): they are answered as soon as it is open, without another request to Kafka.

Nothing is skipped by its offset. Kafka finds the first record of a time, but says nothing of the records before it that
have no timestamp, which are not too old. Judging each costs 7 us with its parsing: 3 s for an hour of 100 a second.

After an error of the broker the reader is opened again at the read positions. A position that is no longer in the log
moves to the first offset that is.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from aiokafka.errors import CommitFailedError, KafkaError

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import AccessError, BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.partition_reader import PartitionReader
from sidestream.streams.kafka.read_rules import Bounds
from sidestream.streams.runtime.lane_protocol import LaneHost
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.waiting import KeyedTasks, run_concurrently
from sidestream.streams.sessions.age import MaxAge
from sidestream.streams.sessions.deferred import TAKE_STALE, DeferredReader
from sidestream.streams.sessions.feed import Feed
from sidestream.streams.sessions.held import Held
from sidestream.streams.sessions.prefix import OffsetPrefix
from sidestream.streams.sessions.settings import SessionSettings

_log = get_log(__name__)

# Session-starts wait while the states of their partition are restored; this is how often that is checked.
READY_POLL_MS = 20
# The broker holds a request without records for so long, which a partition that is new to the reader has to wait for.
FETCH_WAIT_MS = 100
# Session-starts begun in one iteration of the event loop: 0.1 ms each. Those that are skipped take 3 us.
TAKE_RECORDS = 64
# If more wait in a partition, those that are published from now on are answered before them.
MAX_AHEAD = 16
# Limit of one request while a partition is positioned, and of the reader's opening.
STEP_S = 10.0
# A reader that has read for so long is in order.
HEALTHY_S = 2.0
# Pauses between attempts to position a partition.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
# A failure is logged once it has lasted for so long, and then not again for some time: the group may be rebalancing.
PATIENCE_S, QUIET_S = 5.0, 10.0
# Named in the messages of outages.
_PART = "session-starts"


class SessionSource:
    """Source of all partitions that a worker owns.

    Args:
        clients: Kafka client factory.
        topic: `session-starts.v1`.
        prefixes: What is finished of each owned partition; changed together with `keep`.
        host: The group's committed offsets.
        settings: Start and poll timeout.
        age: Which session-starts are too old.
        metrics: Counts what is lost.
        clock: Monotonic seconds.

    Attributes:
        positions: Read positions of the partitions that are read.
        num_openings: Number of times the reader was opened.
    """

    def __init__(
        self,
        clients: Clients,
        topic: TopicSpec,
        prefixes: dict[int, OffsetPrefix],
        host: LaneHost,
        settings: SessionSettings,
        age: MaxAge,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.positions: dict[int, int] = {}
        self.num_openings = 0
        self._clients, self._topic, self._prefixes, self._host = clients, topic.name, prefixes, host
        self._all = range(topic.partitions)
        self._settings, self._age, self._metrics, self._clock = settings, age, metrics, clock
        self._deferred = DeferredReader(clients, topic, prefixes, settings.poll_ms, metrics)
        self._starts: dict[int, int] = {}
        self._held = Held(MAX_AHEAD)
        self._read: set[int] = set()
        self._lost: dict[int, asyncio.Event] = {}
        self._reader: PartitionReader | None = None
        self._reads = KeyedTasks[int]()
        self._troubles: dict[int, str] = {}
        self._outage = clients.outages.of(_PART)
        self._quiet_until_s = 0.0
        self._expect(prefixes)

    def keep(self, partitions: Collection[int]) -> None:
        """Stop reading the partitions that are gone, and read the new ones; the others go on.

        Args:
            partitions: All partitions that this worker owns now.
        """
        for partition in self._lost.keys() - set(partitions):
            for task in self._reads.of([partition]):
                task.cancel()
            if self._reader is not None:
                self._reader.pause(partition)
            for known in (self._starts, self._lost, self._troubles, self.positions):
                known.pop(partition, None)
            self._read.discard(partition)
            self._held.drop(partition)
        gained = sorted(set(partitions) - self._lost.keys())
        self._expect(gained)
        if self._reader is not None:  # otherwise all are begun as soon as it is open
            self._keep_all_read(self._reader, gained)

    def _expect(self, partitions: Iterable[int]) -> None:
        self._lost |= {partition: asyncio.Event() for partition in partitions}

    def not_started(self) -> list[str]:
        """Return why session-starts that are published now might not be answered."""
        if open_ended := [partition for partition in self._prefixes if partition not in self._starts]:
            trouble = next((f": {self._troubles[p]}" for p in open_ended if p in self._troubles), "")
            return [f"{self._topic}: start of {len(open_ended)} partitions not committed yet{trouble}"]
        # One whose leader is gone has been tried: it is not what a start has to wait for.
        untried = self._prefixes.keys() - self.positions.keys() - self._troubles.keys()
        return [f"{self._topic}: {len(untried)} partitions not read yet"] if untried else []

    async def run(self, feed: Feed) -> None:
        """Read until cancelled.

        Args:
            feed: Where the session-starts go.

        Raises:
            AccessError: This worker may not read the topic.
        """
        try:
            while True:
                self.num_openings += 1
                try:
                    await self._read_all(feed)
                except AccessError:
                    raise
                except (BrokerError, TimeoutError) as exc:
                    await self._outage.wait(str(exc) or f"no answer within {STEP_S:g} s")
        finally:
            self._outage.end()

    async def _read_all(self, feed: Feed) -> None:
        wait_ms = min(FETCH_WAIT_MS, self._clients.fetch_max_wait_ms)
        reader = PartitionReader(self._clients, self._topic, self._all, fetch_max_wait_ms=wait_ms)
        try:
            async with asyncio.timeout(STEP_S):
                await reader.open()
            self._reader, self._reads = reader, KeyedTasks()
            self._keep_all_read(reader, sorted(self._lost))
            await run_concurrently([self._fetch(reader, feed), self._deferred.run(feed), self._reads.run()])
        finally:
            self._reader = None
            await self._reads.cancel()
            self._read.clear()
            self._held.clear()
            self._age.tell(at_once=True)
            await reader.close()

    def _keep_all_read(self, reader: PartitionReader, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self._reads.start(partition, self._keep_read(reader, partition))

    async def _keep_read(self, reader: PartitionReader, partition: int) -> None:
        """Position a partition, again and again until it works, and whenever its position is lost."""
        pause_s, failing_since_s = FIRST_PAUSE_S, None
        while True:
            self._lost[partition].clear()
            try:
                await self._begin(reader, partition)
            except AccessError:
                raise
            except (BrokerError, KafkaError, TimeoutError) as exc:
                failing_since_s = self._clock() if failing_since_s is None else failing_since_s
                self._troubles[partition] = _trouble(exc)
                if self._clock() - failing_since_s >= PATIENCE_S:
                    where = f"{self._topic}/{partition}"
                    self._note("session-starts cannot be read now", partition=where, detail=self._troubles[partition])
                await asyncio.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
            else:
                pause_s, failing_since_s = FIRST_PAUSE_S, None
                self._troubles.pop(partition, None)
                await self._lost[partition].wait()

    async def _begin(self, reader: PartitionReader, partition: int) -> None:
        async with asyncio.timeout(STEP_S):
            if partition not in self._starts:
                self._starts[partition] = await self._start(reader, partition)
            bounds, fresh = await asyncio.gather(reader.bounds(partition), self._fresh_from(reader, partition))
        # What has begun may be ahead of the read position, which is noted after it: the reader may have failed between.
        position = max(self.positions.get(partition, self._starts[partition]), self._prefixes[partition].end)
        position = self._inside(partition, position, bounds)
        fresh = bounds.end if fresh is None else min(fresh, bounds.end)
        if fresh - position > MAX_AHEAD:
            self._deferred.add(partition, position, fresh, is_old=True)
            position = fresh
        if bounds.end - position > MAX_AHEAD:
            self._deferred.add(partition, position, bounds.end)
            position = bounds.end
        self.positions[partition] = position
        reader.begin(partition, position)
        self._read.add(partition)

    async def _fresh_from(self, reader: PartitionReader, partition: int) -> int | None:
        since_ms = self._age.since_ms
        return 0 if since_ms is None else await reader.offset_since(partition, since_ms)

    async def _start(self, reader: PartitionReader, partition: int) -> int:
        committed = (await self._host.committed(self._topic, [partition]))[partition]
        if committed is not None:
            return committed
        begin, end = await reader.bounds(partition)
        start = end if self._settings.start == "end" else begin
        await self._host.commit(self._topic, {partition: start})
        if start > begin:
            _log.info(
                "session-starts from before the group's first start are not answered",
                partition=f"{self._topic}/{partition}",
                offsets=start - begin,
                setting="session.start = end",
            )
        return start

    def _inside(self, partition: int, position: int, bounds: Bounds) -> int:
        """Move a position that is not in the log to the first offset that is."""
        if bounds.begin <= position <= bounds.end:
            return position
        where = {"partition": f"{self._topic}/{partition}", "position": position, "begin": bounds.begin}
        if position > bounds.end:
            _log.warning("topic recreated or truncated, read from its beginning", end=bounds.end, **where)
            self._prefixes[partition] = OffsetPrefix()
            return bounds.begin
        _log.warning("session-starts were deleted before they were read", lost=bounds.begin - position, **where)
        self._metrics.sessions_skipped.labels("deleted").inc(bounds.begin - position)
        return self._move(partition, bounds.begin)

    def _move(self, partition: int, position: int) -> int:
        self._prefixes[partition].skip(position)
        return position

    async def _fetch(self, reader: PartitionReader, feed: Feed) -> None:
        most, opened_s = TAKE_RECORDS, self._clock()
        while True:
            room = await feed.room()
            poll_ms = min(READY_POLL_MS, self._settings.poll_ms) if self._held else self._settings.poll_ms
            fetched = await reader.fetch(poll_ms, min(room, most))
            for partition in fetched.lost:
                self._read.discard(partition)
                self._held.drop(partition)
                if (lost := self._lost.get(partition)) is not None:
                    lost.set()
            open_now = self._hold_blocked(fetched.records, feed.is_blocked)
            num_answered = await feed.begin(reader, open_now)
            most = TAKE_STALE if open_now and not num_answered else TAKE_RECORDS
            # Without records a position may still advance over transaction markers: read it at idle polls.
            for partition in list(fetched.records.keys() | open_now.keys() or self._read):
                position = await reader.position(partition)
                if partition in self._read:  # otherwise it was moved, or is gone
                    first_held = self._held.first(partition)
                    self.positions[partition] = position if first_held is None else first_held
            self._age.tell()
            if self._outage.is_on and self._clock() - opened_s > HEALTHY_S:
                self._outage.end()

    def _hold_blocked(
        self, fetched: Mapping[int, list[Any]], is_blocked: Callable[[int], bool]
    ) -> dict[int, list[Any]]:
        """Return the session-starts that may begin: those just fetched, after those that were held until now."""
        open_now: dict[int, list[Any]] = {}
        for partition, (not_kept, held) in self._held.take_open(is_blocked).items():
            if not_kept:
                self._deferred.add(partition, not_kept.start, not_kept.stop)
            open_now[partition] = held
        for partition, records in fetched.items():
            if partition in open_now or not is_blocked(partition):
                open_now[partition] = [*open_now.get(partition, ()), *records]
            elif partition in self._read:
                self._held.add(partition, records)
        return open_now

    def _note(self, event: str, **more: object) -> None:
        if self._clock() >= self._quiet_until_s:
            self._quiet_until_s = self._clock() + QUIET_S
            _log.warning(event, topic=self._topic, **more)


def _trouble(exc: Exception) -> str:
    if isinstance(exc, CommitFailedError):
        return "the group rebalances"  # the library's text advises on settings that do not exist here
    return str(exc) or f"no answer within {STEP_S:g} s"
