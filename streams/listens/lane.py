"""Listen lane: folds the listens of the assigned partitions into user state, each partition by itself.

The lane owns what the partitions share: the writer, the reader of listens and erasures, the restorer, and the standbys.
`partition_fold` says what happens to one partition. Readers see folded values at once (overlay), before they are
durable: an answer may use a fold that a crash then undoes.

Kafka that does not answer interrupts a partition, which is then opened again. Every other failure stops the worker: a
restart restores a consistent state, continuing might not.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from rocksdict import DbClosedError

from sidestream.models.history import SidLookup
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.errors import LaneError, LaneInterrupted, SidestreamError, TableDamaged
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.batch import Decode, OnDurable
from sidestream.streams.listens.derived import DerivedOutput
from sidestream.streams.listens.durable.guarantee import Guarantee, make_writer
from sidestream.streams.listens.durable.writer import ChangelogWriter
from sidestream.streams.listens.erasure.feed import ErasureFeed
from sidestream.streams.listens.folding import FoldParts, Slots
from sidestream.streams.listens.partition_fold import LONGEST_PAUSE_S, PartitionFold
from sidestream.streams.listens.restore.progress import RestoreProgress
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.restore.source_check import SourceCheck
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.source import ListenSource, unread
from sidestream.streams.listens.standbys import Standbys
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.lane_protocol import HeldTables, LaneHost
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.progress import IDLE, Work
from sidestream.streams.runtime.stall import StallGuard
from sidestream.streams.runtime.waiting import KeyedTasks, run_until

logger = logging.getLogger(__name__)

# How long the standbys wait for the owned partitions.
STANDBY_WAIT_S = 10.0


class ListenLane:
    """`PartitionLane` of `listen-events.v1`.

    Args:
        host: Group membership.
        clients: Kafka client factory.
        table: Local user-state table; its identity contains source topic and changelog.
        decode: Decodes a record, or raises `BadRecord`.
        lookup: Maps an item key to its current SID; called once per listen.
        settings: Batch sizes and times.
        metrics: Counters.
        writer: Publishes batches; by default according to `settings.guarantee`.
        pacer: Yields to session-starts; shared with the session lane.
        clock: Monotonic seconds.
        erasures: Requests to erase users of the same partitions; None if there are none.
        on_durable: Called after each durable batch.
        derived: Output derived from the same listens; None if there is none.
        placement: Recognises listens of other partitions; None takes all.

    Attributes:
        standbys: Tables of partitions that other workers own; a service that is stopped after the lane.
    """

    def __init__(
        self,
        host: LaneHost,
        clients: Clients,
        table: UserTable,
        decode: Decode,
        lookup: SidLookup,
        settings: LaneSettings,
        metrics: LaneMetrics,
        writer: ChangelogWriter | None = None,
        pacer: Pacer | None = None,
        clock: Callable[[], float] = time.monotonic,
        erasures: ErasureFeed | None = None,
        on_durable: OnDurable | None = None,
        derived: DerivedOutput | None = None,
        placement: Placement | None = None,
    ) -> None:
        self._host, self._clients, self._table, self._derived = host, clients, table, derived
        pacer = pacer or Pacer(settings.slice_ms, settings.listen_share)
        self._writer = writer or make_writer(settings, clients, table.identity, host.group_id, pacer)
        self._session_s = clients.settings.session_timeout_ms / 1000
        # A process paused past its session may have been replaced; brokers fence it only if it uses transactions.
        stall = (
            None
            if self._writer.commits_source
            else StallGuard(table.identity.source_topic, clients.settings.session_timeout_ms, clock)
        )
        self._parts = FoldParts(
            table.identity.source_topic,
            decode,
            lookup,
            self._writer,
            settings,
            metrics,
            pacer,
            Slots(),
            stall,
            erasures,
            on_durable,
            placement,
        )
        side_topics = {} if erasures is None else {erasures.topic: table.identity.num_partitions}
        self._check = SourceCheck(
            table.identity, clients, {**side_topics, **({} if derived is None else derived.topics)}
        )
        self._restorer = Restorer(table.identity, clients, settings.restore_batch_records, metrics)
        self.standbys = Standbys(table, self._restorer, self._check, self._until_owned_ready)
        self._task: asyncio.Task[None] | None = None
        self._crashing: asyncio.Task[None] | None = None
        self._stop, self._all_ready = asyncio.Event(), asyncio.Event()
        self._assigned: frozenset[int] = frozenset()
        self._folds: dict[int, PartitionFold] = {}
        self._stops: dict[int, asyncio.Event] = {}
        self._folding = KeyedTasks[int]()
        self._committable: dict[int, int] = {}
        self._source: ListenSource | None = None
        self._num_openings = 0
        self._was_assigned = False

    @property
    def topic(self) -> str:
        """Source topic."""
        return self._table.identity.source_topic

    @property
    def guarantee(self) -> Guarantee:
        """Delivery guarantee for every listen across crashes."""
        return "exactly_once" if self._writer.commits_source else "at_least_once"

    @property
    def partitions(self) -> frozenset[int]:
        """Partitions that this worker owns, ready or not."""
        return self._assigned

    def tables_in_use(self) -> frozenset[int] | None:
        """Return the partitions whose tables are needed, owned ones and standbys; None before the first assignment."""
        return self._assigned | self.standbys.partitions if self._was_assigned else None

    @property
    def restore_progress(self) -> Mapping[int, RestoreProgress]:
        """Restore progress of each owned partition; empty before the restore begins."""
        return self._restorer.progress

    @property
    def troubles(self) -> Mapping[int, str]:
        """Why owned partitions cannot be folded now, by partition."""
        return {p: fold.trouble for p, fold in self._folds.items() if fold.trouble is not None}

    def work(self, ends: Mapping[int, int]) -> Work:
        """Return the pending work: partitions not open, and listens not fetched or not durable.

        Args:
            ends: Recent end offsets of the topic, by partition.

        Returns:
            The work; attempts to open a partition are progress: the lane waits for Kafka, and a restart would too.
        """
        if self._task is None:
            return IDLE
        waiting, done = 0 if self._folds else 1, [self._num_openings]
        missing = self.unread(ends)
        for partition, fold in self._folds.items():
            done.append(fold.num_attempts)
            if fold.is_open and fold.folding is not None:
                waiting += missing.get(partition, 0) + fold.folding.num_in_flight
                done.append(fold.folding.next_offset)
            else:
                waiting += 1
        done += [progress.position for progress in self.restore_progress.values()]
        positions = {} if self._source is None else self._source.positions
        return Work(waiting, (*done, *positions.items()))

    def unread(self, ends: Mapping[int, int]) -> Mapping[int, int]:
        """Count the listens that are not fetched, by owned partition; `ends` are recent end offsets."""
        return {} if self._source is None else unread(self._source.positions, ends)

    def folded_to(self, partition: int) -> int | None:
        """Return the offset of the first listen that `read` does not include; None if the partition is not ready."""
        fold = self._folds.get(partition)
        return None if fold is None or not fold.is_ready or fold.folding is None else fold.folding.folded_to

    def is_ready(self, partition: int) -> bool:
        """Return whether a partition's table is restored, so that `read` works for it."""
        return (fold := self._folds.get(partition)) is not None and fold.is_ready

    async def wait_ready(self) -> None:
        """Wait until all owned partitions are ready."""
        await self._all_ready.wait()

    async def _until_owned_ready(self) -> None:
        """Wait until all owned partitions are ready, for a limited time: one may have no leader."""
        if self._task is not None or self._assigned:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STANDBY_WAIT_S):
                    await self.wait_ready()

    def read(self, partition: int, user_id: str) -> bytes | None:
        """Read a user's state, including listens whose write is still in flight.

        Args:
            partition: The user's partition.
            user_id: Listener.

        Returns:
            The state; None for an unknown user.

        Raises:
            LaneError: The partition is not owned, or not open yet.
            TableDamaged: The database is damaged; the worker stops.
        """
        key = user_id.encode()
        if (fold := self._folds.get(partition)) is not None and fold.folding is not None:
            if key in fold.folding.overlay:
                return fold.folding.overlay[key]
            if (table := self._table.get(partition)) is not None:
                try:
                    return table.get(key)
                except DbClosedError:  # a revocation has closed it in the meantime
                    pass
                except TableDamaged as exc:
                    self._crashing = asyncio.create_task(self._crash(exc))
                    raise
        raise self._not_open(partition)

    def history(self, partition: int, user_id: str) -> tuple[bytes | None, dict[int, bytes]]:
        """Read a user's state and blocks from this worker's disk.

        Args:
            partition: The user's partition.
            user_id: Listener.

        Returns:
            The state, None for an unknown user; and blocks by slot.

        Raises:
            LaneError: The partition is not owned, or not open yet.
        """
        if partition in self._assigned and (table := self._table.get(partition)) is not None:
            try:
                return table.history(user_id.encode())
            except DbClosedError:  # a revocation has closed it in the meantime
                pass
        raise self._not_open(partition)

    def committable(self) -> Mapping[int, int]:
        """Next source offset by partition; empty if the writer commits them itself."""
        if self._writer.commits_source:
            return {}
        self._note_committable()
        return dict(self._committable)

    def held_tables(self) -> HeldTables | None:
        """Return the local tables; None without standbys, with which no table is kept for a partition to come."""
        if not self._parts.settings.standby_replicas:
            return None
        return self.standbys.held_tables(frozenset(filter(self.is_ready, list(self._folds))))

    async def on_assigned(self, partitions: Collection[int]) -> None:
        """Take over partitions; restoring and folding run in the background.

        Args:
            partitions: All partitions that this worker now owns.
        """
        now_owned = frozenset(partitions)
        if self._task is not None and not self._stop.is_set() and now_owned:
            await self._change(now_owned)
            return
        await self.on_revoked(self._assigned)
        self._assigned, self._committable = now_owned, {}
        self.standbys.keep(self._wanted_standbys(), now_owned)
        self._was_assigned = True
        if not partitions:
            return
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._serve(self._stop), name=f"lane of {self.topic}")
        self._task.add_done_callback(self._on_done)

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Stop after finishing the batches in flight; standbys go on.

        Args:
            partitions: All partitions that this worker owned.

        Raises:
            LaneError: A batch in flight did not end within half the session timeout, and nothing fences this worker.
        """
        del partitions  # all are revoked together
        self._stop.set()
        self._end_folds(self._stops)
        self._folding.end()
        self._all_ready.clear()
        task, self._task = self._task, None
        if task is not None:
            await self._until_ended({task})

    def _wanted_standbys(self) -> frozenset[int]:
        return self._host.standbys(self.topic) if self._parts.settings.standby_replicas else frozenset()

    async def _change(self, now_owned: frozenset[int]) -> None:
        """Begin the partitions that are new and end those that are gone; the others go on."""
        gained, lost = now_owned - self._assigned, self._assigned - now_owned
        self._assigned = now_owned
        wanted = self._wanted_standbys()
        # The tables of those that are gone are still open.
        self.standbys.keep(wanted - lost, now_owned | lost)
        ending = self._folding.of(lost)
        self._end_folds(lost)
        if (source := self._source) is not None:  # otherwise all are begun as soon as it is open
            source.set_owned(len(now_owned))
            if gained:
                self._all_ready.clear()
            self._begin_folds(sorted(gained), source)
        if ending:
            await self._until_ended(ending)
        for partition in lost - self._assigned:
            self._folds.pop(partition, None)
        self.standbys.keep(wanted, self._assigned)
        self._on_ready()

    async def _until_ended(self, tasks: "set[asyncio.Task[None]]") -> None:
        """Wait until batches in flight are finished, for a limited time."""
        limit_s = self._session_s / 2
        _, late = await asyncio.wait(tasks, timeout=limit_s)
        if not late:
            return
        for task in late:
            task.cancel()
        if self._writer.commits_source:
            # The next owner's writer ends the transactions in flight, and nothing of them is kept.
            logger.warning("%s: batches in flight are given up after %.1f s of a revocation", self.topic, limit_s)
            await asyncio.wait(late)
            return
        msg = (
            f"{self.topic}: the batch in flight did not end within {limit_s:.1f} s of the revocation; the worker "
            "must restart, because another one may own its partitions by now"
        )
        raise LaneError(msg)

    async def close(self) -> None:
        """Stop everything, standbys included."""
        await self.on_revoked(self._assigned)
        self._assigned = frozenset()
        await self.standbys.close()

    def _not_open(self, partition: int) -> LaneError:
        return LaneError(f"{self.topic}/{partition}: the user-state table is not open here; ask its owner")

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (reason := task.exception()) is not None:
            logger.error("listen lane ended", exc_info=reason)
            self._crashing = asyncio.create_task(self._crash(reason))

    async def _serve(self, stop: asyncio.Event) -> None:
        """Fold the owned partitions; opens all consumers again when they are interrupted."""
        try:
            while not stop.is_set():
                try:
                    await self._fold_all(stop)
                except LaneInterrupted as exc:
                    logger.warning("%s: interrupted: %s", self.topic, exc)
                    await run_until(stop, asyncio.sleep(LONGEST_PAUSE_S))
        finally:
            self._folds = {}

    async def _fold_all(self, stop: asyncio.Event) -> None:
        self._num_openings += 1
        num_partitions = self._table.identity.num_partitions
        source = ListenSource(self._clients, self._parts, num_partitions, len(self._assigned))
        try:
            try:
                opening = source.open(commits_erasures=not self._writer.commits_source)
                if not await run_until(stop, opening):
                    return
            except SidestreamError as exc:
                msg = f"its consumers cannot be opened ({exc})"
                raise LaneInterrupted(msg) from exc
            if stop.is_set():
                return
            self._source, self._folds, self._stops, self._folding = source, {}, {}, KeyedTasks()
            self._begin_folds(sorted(self._assigned), source)
            reading = asyncio.create_task(source.run(self._position_lost))
            folding = asyncio.create_task(self._folding.run())
            try:
                await asyncio.wait({reading, folding}, return_when=asyncio.FIRST_COMPLETED)
                for task in (folding, reading):
                    if task.done():
                        task.result()
            finally:
                for task in (folding, reading):
                    task.cancel()
                await asyncio.gather(folding, reading, return_exceptions=True)
                await self._folding.cancel()
        finally:
            self._note_committable()
            self._source = None
            await source.close()

    def _begin_folds(self, partitions: Iterable[int], source: ListenSource) -> None:
        tables = self._table, self._restorer, self._check, self.standbys
        shared = self._parts, self._host, *tables, source, self._derived
        for partition in partitions:
            fold, stop = PartitionFold(partition, *shared), asyncio.Event()
            self._folds[partition], self._stops[partition] = fold, stop
            self._folding.start(partition, fold.run(stop, self._on_ready), name=f"{self.topic}/{partition}")

    def _end_folds(self, partitions: Iterable[int]) -> None:
        for partition in list(partitions):
            if (stop := self._stops.pop(partition, None)) is not None:
                stop.set()

    def _position_lost(self, partition: int) -> None:
        if (fold := self._folds.get(partition)) is not None:
            fold.position_lost()

    def _on_ready(self) -> None:
        if self._folds and all(fold.is_ready for fold in self._folds.values()) and not self._stop.is_set():
            self._all_ready.set()

    def _note_committable(self) -> None:
        self._committable.update({p: f.folding.next_offset for p, f in self._folds.items() if f.folding is not None})

    async def _crash(self, reason: BaseException) -> None:
        if not isinstance(reason, SidestreamError):
            reason = LaneError(f"{self.topic}: {reason!r}; the worker must restart; if that does not help, see the log")
        await self._host.crash(reason)
