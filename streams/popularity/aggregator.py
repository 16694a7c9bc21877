"""Aggregator: adds up what all partitions of the listens counted, and publishes each item's total once.

`PartitionLane` of `item-count-changes.v1`. One assignment, in this order (each step depends on the one before): open
the writer, which with transactions fences older owners; read the published totals and the group's committed offsets;
read the changes from there on. Totals and the offset of the changes that they contain are one transaction.

The totals of a large catalogue are published less often than those of a small one, because every worker reads them all.

Nothing but the order of the catalogue depends on the totals. Unlike the listen lane, the aggregator therefore begins
again by itself where Kafka fails, waits for the listen lane's restore, and never holds up a rebalance.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sidestream.streams.contracts.decode import DEFAULT_LIMITS, Limits
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord, BrokerError, LaneError, LaneFenced, SidestreamError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_rules import keep_last
from sidestream.streams.kafka.reading import fetch_bounds, read_to_end
from sidestream.streams.listens.durable.guarantee import make_writer
from sidestream.streams.listens.durable.writer import ChangelogWriter, FoldedBatch
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import TableIdentity
from sidestream.streams.popularity.ahead import latest_at
from sidestream.streams.popularity.range_totals import RangeTotals
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import CountedPart, read_part, read_total_key
from sidestream.streams.runtime.lane_protocol import LaneHost
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.progress import IDLE, ReadProgress, Work
from sidestream.streams.runtime.waiting import run_concurrently, run_until

_log = get_log(__name__)

# Bounds how long a revocation waits for an idle aggregator.
_POLL_MS = 50
# Reading one record of changes takes some 20 µs: a thousand in slices.
_TAKE_RECORDS = 1_000
_RETRY_S = 1.0
# Longest wait for the listen lane: one of its partitions may have no leader.
_RESTORE_WAIT_S = 60.0
_CHECK_RESTORE_S = 0.2
# How long totals delay a revocation; with a broker that answers it takes some 20 ms.
_GRACE_S = 1.0
_STOP_S = 2.5
# A thousand partitions of the listens publish at any time: one wake-up for many of their records.
_FETCH_MIN_BYTES = 65_536


class Aggregator:
    """`PartitionLane` of `item-count-changes.v1`.

    Args:
        host: Group membership.
        clients: Kafka client factory.
        changes: Topic of the changes.
        totals: Topic of the totals, with as many partitions.
        writer: Publishes totals with the offsets of the changes.
        settings: Half-life, publishing interval and rate.
        metrics: Counts records.
        pacer: Yields to session-starts.
        is_restoring: Whether the listen lane is still restoring, which goes first.
        clock: Monotonic seconds.
        max_future_ms: `topics.max_future_ms`.
    """

    def __init__(
        self,
        host: LaneHost,
        clients: Clients,
        changes: str,
        totals: str,
        writer: ChangelogWriter,
        settings: PopularitySettings,
        metrics: Metrics,
        pacer: Pacer | None = None,
        is_restoring: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        max_future_ms: int = DEFAULT_LIMITS.max_future_ms,
    ) -> None:
        self._max_future_ms = max_future_ms
        self._host, self._clients, self._writer = host, clients, writer
        self._changes, self._totals_topic = changes, totals
        self._settings, self._decay = settings, settings.decay
        self._metrics, self._pacer = metrics, pacer or Pacer()
        self._is_restoring, self._clock = is_restoring, clock
        self._task: asyncio.Task[None] | None = None
        self._crashing: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._owned: frozenset[int] = frozenset()
        self._reading: ReadProgress | None = None
        self._totals: dict[int, RangeTotals] = {}
        self._next_s: dict[int, float] = {}
        self._durable: dict[int, int] = {}
        # Partitions whose last publication is not known to be durable.
        self._in_flight: set[int] = set()

    @property
    def topic(self) -> str:
        """Source topic."""
        return self._changes

    def work(self, ends: Mapping[int, int]) -> Work:
        """Return the changes not fetched or in flight, none before the first fetch; `ends` are recent end offsets."""
        return IDLE if self._reading is None else self._reading.work(ends, tuple(self._durable.items()))

    def unread(self, ends: Mapping[int, int]) -> Mapping[int, int]:
        """Count the changes that are not fetched, by owned partition; `ends` are recent end offsets."""
        return {} if self._reading is None else self._reading.unread(ends)

    def committable(self) -> Mapping[int, int]:
        """Next source offset by partition; empty if the writer commits them itself."""
        return {} if self._writer.commits_source else dict(self._durable)

    def held_tables(self) -> None:
        """Return None: the totals are read by all workers."""

    async def on_assigned(self, partitions: Collection[int]) -> None:
        """Take over partitions; everything happens in the background.

        Args:
            partitions: All partitions that this worker now owns.
        """
        if self._task is not None and not self._stop.is_set() and self._owned == frozenset(partitions):
            return
        await self.on_revoked(())
        self._durable, self._owned = {}, frozenset(partitions)
        if partitions:
            self._stop = asyncio.Event()
            self._task = asyncio.create_task(self._serve(sorted(partitions), self._stop), name=f"lane of {self.topic}")
            self._task.add_done_callback(self._on_done)

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Publish what is left, for a second at most, and stop.

        Args:
            partitions: All partitions that this worker owned.
        """
        del partitions  # eager rebalances revoke all partitions
        self._stop.set()
        task, self._task = self._task, None
        if task is not None and not (await asyncio.wait({task}, timeout=_STOP_S))[0]:
            task.cancel()

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (reason := task.exception()) is not None:
            if not isinstance(reason, SidestreamError):
                reason = LaneError(
                    f"{self.topic}: {reason!r}; the worker must restart; if that does not help, see the log"
                )
            self._crashing = asyncio.create_task(self._host.crash(reason))

    async def _serve(self, partitions: list[int], stop: asyncio.Event) -> None:
        until_s = self._clock() + _RESTORE_WAIT_S
        while self._is_restoring() and self._clock() < until_s and not stop.is_set():
            await run_until(stop, asyncio.sleep(_CHECK_RESTORE_S))
        while not stop.is_set():
            try:
                await self._serve_once(partitions, stop)
            except LaneFenced as exc:
                # The broker fences a transaction that was open for too long, too.
                if not await self._host.confirm_member():
                    raise
                _log.warning("totals of counts begin again", detail=str(exc))
            except (LaneError, BrokerError, KafkaError) as exc:
                # As safe as a restart of the worker: everything is read again from what is published.
                _log.warning("totals of counts begin again", detail=str(exc) or repr(exc))
                await run_until(stop, asyncio.sleep(_RETRY_S))

    async def _serve_once(self, partitions: list[int], stop: asyncio.Event) -> None:
        try:
            if not await run_until(stop, run_concurrently(self._writer.open(partition) for partition in partitions)):
                return
            async with self._source() as source:
                if await run_until(stop, self._resume(source, partitions)):
                    await self._run(source, stop)
        finally:
            self._reading = None
            self._totals, self._next_s = {}, {}
            self._in_flight.clear()
            await run_concurrently(self._writer.close(partition) for partition in partitions)

    @contextlib.asynccontextmanager
    async def _source(self) -> AsyncGenerator[AIOKafkaConsumer, None]:
        # Where retention overtakes the reader, it begins again, and tells what is lost.
        source = self._clients.async_consumer(auto_offset_reset="none", fetch_min_bytes=_FETCH_MIN_BYTES)
        try:
            await source.start()
            yield source
        finally:
            await source.stop()

    async def _resume(self, source: AIOKafkaConsumer, partitions: list[int]) -> None:
        committed = await self._host.committed(self.topic, partitions)
        ends = await fetch_bounds(self._clients, self._totals_topic, partitions)
        totals = await self._published(partitions)
        bounds = await fetch_bounds(self._clients, self.topic, partitions)
        for partition in partitions:
            self._writer.set_changelog_end(partition, ends[partition].end)
        source.assign([TopicPartition(self.topic, partition) for partition in partitions])
        for partition in partitions:
            begin, end = bounds[partition]
            position, (parts, newest_ms) = committed[partition] or begin, totals[partition]
            if max([position, *(part.offset for part in parts.values())]) > end:
                _log.warning("totals belong to other changes", partition=partition, position=position, end=end)
                parts = {part: CountedPart(p.half_life_ms, begin, p.counts) for part, p in parts.items()}
                position = begin
            # What a part contains was read, also where the committed offset lags behind.
            self._tell_lost(partition, max([position, *(part.offset for part in parts.values())]), begin)
            position = max(position, begin)
            self._totals[partition] = RangeTotals(self._decay, parts, position, self._latest_at(newest_ms))
            self._next_s[partition] = self._clock() + self._settings.publish_s
            source.seek(TopicPartition(self.topic, partition), position)

    def _tell_lost(self, partition: int, position: int, begin: int) -> None:
        """Tell of changes that retention deleted unread: the listens in them are missing in the totals."""
        if position >= begin:
            return
        _log.warning(
            "changes of counts were deleted before they were added up; their listens do not count for popularity",
            partition=f"{self.topic}/{partition}",
            lost=begin - position,
            position=position,
            begin=begin,
        )
        self._metrics.popularity_changes.labels("deleted").inc(begin - position)

    def _latest_at(self, published_ms: int) -> int | None:
        """Return the time of the latest listen that a record may contain, by its Kafka timestamp; None without one."""
        return None if published_ms < 0 else latest_at(published_ms, self._max_future_ms)

    async def _published(self, partitions: list[int]) -> dict[int, tuple[dict[int, CountedPart], int]]:
        """Read the totals by partition and part, and the newest Kafka timestamp of each partition."""
        found: dict[int, dict[int, CountedPart]] = {partition: {} for partition in partitions}
        values: dict[int, dict[bytes, bytes]] = {partition: {} for partition in partitions}
        newest_ms = dict.fromkeys(partitions, -1)
        async for batch in read_to_end(self._clients, self._totals_topic, partitions):
            partition = batch.place.partition
            keep_last(batch.records, values[partition])
            newest_ms[partition] = max([newest_ms[partition], *(record.timestamp for record in batch.records)])
        for partition, last in values.items():
            for key, value in last.items():
                try:
                    part, counted = read_total_key(key), read_part(value)
                except BadRecord as exc:
                    _log.warning("totals skipped", key=repr(key), detail=exc.detail)
                    continue
                if counted.half_life_ms == self._decay.half_life_ms:
                    found[partition][part] = counted
        return {partition: (parts, newest_ms[partition]) for partition, parts in found.items()}

    async def _run(self, source: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        reading = self._reading = ReadProgress()
        while not stop.is_set():
            fetched = await source.getmany(timeout_ms=_POLL_MS, max_records=_TAKE_RECORDS)
            by_partition = {tp.partition: records for tp, records in fetched.items()}
            await reading.note(source, self.topic, self._totals, by_partition)
            for partition, records in by_partition.items():
                await self._add(self._totals[partition], records)
            reading.in_flight = 0
            due = [partition for partition, at_s in self._next_s.items() if self._clock() >= at_s]
            # A revocation need not wait for a broker that does not answer: the next owner ends a transaction that is
            # left open, and publishes the same again.
            await run_until(stop, run_concurrently(self._publish(partition) for partition in due), _GRACE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await run_concurrently(self._publish(partition) for partition in self._totals)

    async def _add(self, totals: RangeTotals, records: list[Any]) -> None:
        for record in records:
            await self._pacer.yield_if_due()
            try:
                changes = read_part(record.value or b"")
            except BadRecord as exc:
                self._metrics.popularity_changes.labels("malformed").inc()
                _log.warning("counts skipped", key=repr(record.key), detail=exc.detail)
                continue
            if changes.half_life_ms != self._decay.half_life_ms:
                self._metrics.popularity_changes.labels("other_half_life").inc()
                continue
            is_added = totals.add(record.offset, changes.counts, self._latest_at(record.timestamp))
            self._metrics.popularity_changes.labels("applied" if is_added else "ahead").inc()
            if not is_added:
                landmark_at = self._decay.at(changes.counts.landmark)
                _log.warning("counts dated ahead are skipped", key=repr(record.key), at=landmark_at)
            if totals.is_full:
                await asyncio.to_thread(totals.merge)

    async def _publish(self, partition: int) -> None:
        totals = self._totals[partition]
        # After a publication that was cut short, nothing more is published: only what the topic holds counts.
        if not totals.has_changes or partition in self._in_flight:
            return
        self._in_flight.add(partition)
        # In a thread: the totals of a million items take 100 ms.
        records = await asyncio.to_thread(totals.publish)
        next_offset = totals.next_offset
        await self._writer.publish(FoldedBatch(partition, records, (), next_offset))
        self._in_flight.discard(partition)
        self._durable[partition] = next_offset
        written_s = sum(map(len, records.values())) / self._settings.totals_bytes_per_s
        self._next_s[partition] = self._clock() + max(self._settings.publish_s, written_s)


def make_aggregator(
    host: LaneHost,
    clients: Clients,
    topics: Topics,
    settings: PopularitySettings,
    lane_settings: LaneSettings,
    metrics: Metrics,
    pacer: Pacer,
    is_restoring: Callable[[], bool],
    limits: Limits = DEFAULT_LIMITS,
) -> Aggregator | None:
    """Create the aggregator of an installation.

    Args:
        host: Group membership.
        clients: Kafka client factory.
        topics: Topics of the installation.
        settings: Half-life, publishing interval and rate.
        lane_settings: Guarantee and sizes of transactions.
        metrics: Counts records.
        pacer: Yields to session-starts.
        is_restoring: Whether the listen lane is still restoring, which goes first.
        limits: Limits of listens.

    Returns:
        The lane; None if counting is disabled.

    Raises:
        SettingsError: This broker cannot provide the guarantee.
    """
    if not settings.enabled:
        return None
    changes, totals = topics.item_count_changes, topics.item_count_totals
    identity = TableIdentity(changes.name, totals.name, changes.partitions)
    writer = make_writer(lane_settings, clients, identity, host.group_id, pacer)
    return Aggregator(
        host,
        clients,
        changes.name,
        totals.name,
        writer,
        settings,
        metrics,
        pacer,
        is_restoring,
        max_future_ms=limits.max_future_ms,
    )
