"""Listen lane: folds the listens of the assigned partitions into user state, in timed batches.

One assignment is one run of `_serve`, in this order (each step depends on the one before):
1. open the writer, which with transactions fences older owners and ends their open transactions, 2. read the group's
committed source offsets, 3. open the tables, restore them to the changelog's end as of now, and reject states of
another source (`source_check`), 4. seek the source to the first listen that is not folded, and the erasures likewise,
5. fold until revoked.

One batch: decode, read states, erase, fold, publish values and dead letters and wait until they are durable, then one
RocksDB WriteBatch. Offsets are part of the transaction, or committed by Faust after the write (see `writer`). Readers
see folded values at once (overlay), before they are durable: an answer may use a fold that a crash then undoes.

Every failure stops the worker: a restart restores a consistent state, continuing might not.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping

from aiokafka import AIOKafkaConsumer
from rocksdict import DbClosedError

from sidestream.models.history import SidLookup
from sidestream.streams.errors import LaneError, SidestreamError, TableDamaged
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.batch import Decode, OnDurable
from sidestream.streams.listens.derived import DerivedOutput, open_derived
from sidestream.streams.listens.durable.guarantee import Guarantee, make_writer
from sidestream.streams.listens.durable.writer import ChangelogWriter
from sidestream.streams.listens.erasure.feed import ErasureFeed
from sidestream.streams.listens.folding import Folding
from sidestream.streams.listens.restore.positions import source_consumer, start_positions, write_origins
from sidestream.streams.listens.restore.progress import RestoreProgress
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.restore.source_check import SourceCheck
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.garbage_collection import collect_and_freeze
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.lane_protocol import LaneHost
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.progress import IDLE, Work
from sidestream.streams.runtime.stall import StallGuard
from sidestream.streams.runtime.waiting import run_concurrently, run_until

logger = logging.getLogger(__name__)


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
    ) -> None:
        self._host, self._clients, self._table = host, clients, table
        self._decode, self._lookup, self._settings = decode, lookup, settings
        self._metrics, self._erasures, self._derived = metrics, erasures, derived
        self._folding_parts = erasures, on_durable, derived
        self._pacer = pacer or Pacer(settings.slice_ms, settings.listen_share)
        self._writer = writer or make_writer(settings, clients, table.identity, host.group_id, self._pacer)
        side_topics = [part.topic for part in (erasures, derived) if part is not None]
        self._source_check = SourceCheck(table.identity, clients, side_topics)
        self._restorer = Restorer(table.identity.changelog_topic, clients, settings.restore_batch_records, metrics)
        self._session_s = clients.settings.session_timeout_ms / 1000
        # A process paused past its session may have been replaced; brokers fence it only if it uses transactions.
        self._stall = (
            None
            if self._writer.commits_source
            else StallGuard(table.identity.source_topic, clients.settings.session_timeout_ms, clock)
        )
        self._task: asyncio.Task[None] | None = None
        self._crashing: asyncio.Task[None] | None = None
        self._stop, self._ready = asyncio.Event(), asyncio.Event()
        self._assigned: frozenset[int] = frozenset()
        self._folding = self._new_folding()

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

    @property
    def restore_progress(self) -> Mapping[int, RestoreProgress]:
        """Restore progress of each owned partition; empty before the restore begins."""
        return self._restorer.progress

    def work(self, ends: Mapping[int, int]) -> Work:
        """Return the pending work: a restore, or listens not fetched or not durable; `ends` are recent end offsets."""
        if self._task is None:
            return IDLE
        if not self._ready.is_set():
            return Work(1, tuple((p, progress.position) for p, progress in self.restore_progress.items()))
        return self._folding.work(ends)

    def unread(self, ends: Mapping[int, int]) -> Mapping[int, int]:
        """Count the listens that are not fetched, by owned partition; `ends` are recent end offsets."""
        return self._folding.unread(ends) if self._ready.is_set() else {}

    def folded_to(self, partition: int) -> int | None:
        """Return the offset of the first listen that `read` does not include; None if the partition is not ready."""
        return self._folding.folded_to.get(partition) if self.is_ready(partition) else None

    def is_ready(self, partition: int) -> bool:
        """Return whether a partition's table is restored, so that `read` works for it."""
        return self._ready.is_set() and partition in self._assigned

    async def wait_ready(self) -> None:
        """Wait until all owned partitions are ready."""
        await self._ready.wait()

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
        pending = self._folding.pending(partition)
        if key in pending:
            return pending[key]
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
        if (table := self._table.get(partition)) is not None:
            try:
                return table.history(user_id.encode())
            except DbClosedError:  # a revocation has closed it in the meantime
                pass
        raise self._not_open(partition)

    def committable(self) -> Mapping[int, int]:
        """Next source offset by partition; empty if the writer commits them itself."""
        return {} if self._writer.commits_source else dict(self._folding.next_offsets)

    async def on_assigned(self, partitions: Collection[int]) -> None:
        """Take over partitions; restoring and folding run in the background.

        Args:
            partitions: All partitions that this worker now owns.
        """
        await self.on_revoked(self._assigned)
        self._assigned, self._folding = frozenset(partitions), self._new_folding()
        if not partitions:
            return
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._serve(sorted(partitions), self._stop), name=f"lane of {self.topic}")
        self._task.add_done_callback(self._on_done)

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Stop after finishing the batch in flight.

        Args:
            partitions: All partitions that this worker owned.

        Raises:
            LaneError: The batch in flight did not end within half the session timeout.
        """
        del partitions  # eager rebalances revoke all partitions
        self._stop.set()
        self._ready.clear()
        task, self._task = self._task, None
        if task is None:
            return
        limit_s = self._session_s / 2
        done, _ = await asyncio.wait({task}, timeout=limit_s)
        if not done:
            task.cancel()
            msg = (
                f"{self.topic}: the batch in flight did not end within {limit_s:.1f} s of the revocation; the worker "
                "must restart, because another one may own its partitions by now"
            )
            raise LaneError(msg)

    def _not_open(self, partition: int) -> LaneError:
        return LaneError(f"{self.topic}/{partition}: the user-state table is not open here; ask its owner")

    def _new_folding(self) -> Folding:
        return Folding(
            self.topic,
            self._decode,
            self._lookup,
            self._writer,
            self._settings,
            self._metrics,
            self._pacer,
            self._stall,
            *self._folding_parts,
        )

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        self._ready.clear()
        if not task.cancelled() and (reason := task.exception()) is not None:
            logger.error("listen lane ended", exc_info=reason)
            self._crashing = asyncio.create_task(self._crash(reason))

    async def _serve(self, partitions: list[int], stop: asyncio.Event) -> None:
        source: AIOKafkaConsumer | None = None
        try:
            # No work to finish yet: a revocation need not wait for a broker that does not answer.
            if not await run_until(
                stop, run_concurrently((self._writer.open(partitions), self._source_check.read_topics()))
            ):
                return
            committed = await self._host.committed(self.topic, partitions)
            tables = await asyncio.to_thread(self._table.open, partitions)
            await self._source_check.before_restore(tables)
            await self._restorer.restore(tables, stop.is_set, self._source_check.removals_kept_ms)
            if stop.is_set():
                return
            unrecorded = self._source_check.after_restore(tables, committed)
            self._writer.set_changelog_ends({p: table.positions.changelog_offset + 1 for p, table in tables.items()})
            source = source_consumer(self._clients, self._settings, len(partitions))
            await source.start()
            positions = await start_positions(source, self.topic, tables, committed)
            await write_origins(self._writer, tables, positions, unrecorded)
            if self._erasures is not None:
                await self._erasures.open(self._host, tables, commits=not self._writer.commits_source)
            await run_until(stop, open_derived(self._derived, self._writer, positions))
            self._folding.begin(tables, positions)
            collect_and_freeze()  # no session-start is waiting yet
            if not stop.is_set():
                self._ready.set()
            await self._folding.run(source, stop)
        finally:
            self._ready.clear()
            if source is not None:
                await source.stop()
            if self._erasures is not None:
                await self._erasures.close()
            await self._writer.close()
            self._folding.end()
            await asyncio.to_thread(self._table.close)

    async def _crash(self, reason: BaseException) -> None:
        if not isinstance(reason, SidestreamError):
            reason = LaneError(f"{self.topic}: {reason!r}; the worker must restart; if that does not help, see the log")
        await self._host.crash(reason)
