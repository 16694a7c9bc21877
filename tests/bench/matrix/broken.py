"""Builds that are broken on purpose, each in one promise of the lane's protocol: the judge must see each of them."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import TopicPartition

from sidestream.models.history import is_erased
from sidestream.models.history.blocks import KEY_MARK
from sidestream.streams.listens.durable.sending import queue_batch
from sidestream.streams.listens.durable.transactions import TransactionalWriter
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.popularity.count_publisher import ItemCounting
from sidestream.streams.popularity.partition_changes import PartitionChanges
from sidestream.streams.runtime.pacing import Pacer
from tests.bench.matrix.faults import ERASURE_POINTS, TRANSACTION_POINTS, FaultyClients

SKIPPED_RECORDS = 3


@dataclass(frozen=True)
class BrokenBuild:
    """How it is made, and which faults bring it to light."""

    install: Callable[[], None]
    points: tuple[str, ...] = ()
    pauses: bool = False


def _table_before_commit() -> None:
    """Write RocksDB before Kafka has acknowledged the commit."""
    tables: dict[int, Any] = {}
    opened, publish = UserTable.open, TransactionalWriter.publish

    def open_and_keep(self: UserTable, *args: Any, **options: Any) -> Any:
        found = opened(self, *args, **options)
        tables.update(found)
        return found

    async def write_then_publish(self: TransactionalWriter, batch: FoldedBatch) -> int | None:
        table = tables[batch.partition]
        offset = table.positions.changelog_offset + len(batch.values)
        positions = replace(table.positions, changelog_offset=offset, source_next=batch.next_offset)
        await asyncio.to_thread(table.write, batch.values, positions)
        return await publish(self, batch)

    UserTable.open = open_and_keep  # type: ignore[method-assign]
    TransactionalWriter.publish = write_then_publish  # type: ignore[method-assign]


def _offsets_before_changelog() -> None:
    """Commit the source offset in a transaction of its own, before the values are on the changelog."""
    publish = TransactionalWriter.publish

    async def commit_then_publish(self: TransactionalWriter, batch: FoldedBatch) -> int | None:
        await publish(self, replace(batch, values={}, dead_letters=()))
        return await publish(self, batch)

    TransactionalWriter.publish = commit_then_publish  # type: ignore[method-assign]


def _no_fence() -> None:
    """Give every process transactional ids of its own: nobody is ever fenced."""
    FaultyClients.rename = staticmethod(lambda name: f"{name}-{os.getpid()}")


def _dirty_restore() -> None:
    """Restore what was never committed, too."""
    FaultyClients.isolates = False


def _restore_skips() -> None:
    """Begin the restore a few records after the stored position."""
    FaultyClients.restore_skip = SKIPPED_RECORDS


def _erasures_before_states() -> None:
    """Commit the offset of erasures in a transaction of its own, before what they change is on the changelog."""
    publish = TransactionalWriter.publish

    async def commit_then_publish(self: TransactionalWriter, batch: FoldedBatch) -> int | None:
        if batch.side_offsets:
            offsets = {TopicPartition(topic, batch.partition): at for topic, at in batch.side_offsets.items()}
            producer = self._producers[batch.partition]
            await producer.begin_transaction()
            await producer.send_offsets_to_transaction(offsets, self.group_id)
            await producer.commit_transaction()
        return await publish(self, batch)

    TransactionalWriter.publish = commit_then_publish  # type: ignore[method-assign]


def _restore_keeps_erased() -> None:
    """Restore values, but not that they were deleted or erased."""
    apply = Restorer._apply

    def is_value(record: Any) -> bool:
        return record.value is not None and (record.key[:1] == KEY_MARK or not is_erased(record.value))

    async def apply_values(self: Restorer, table: PartitionTable, records: Sequence[Any]) -> None:
        if values := [record for record in records if is_value(record)]:
            await apply(self, table, values)

    Restorer._apply = apply_values  # type: ignore[method-assign]


def _counts_unfenced() -> None:
    """Send counts beside the transaction, by a producer that no heir fences."""
    producers: list[Any] = []
    publish = TransactionalWriter.publish

    async def publish_beside(self: TransactionalWriter, batch: FoldedBatch) -> int | None:
        if batch.derived:
            if not producers:
                producers.append(self._clients.async_producer())
                await producers[0].start()
            queued = await queue_batch(producers[0], self.changelog_topic, replace(batch, values={}), Pacer())
            await asyncio.gather(*(future for _, future in queued.others))
        return await publish(self, replace(batch, derived=()))

    TransactionalWriter.publish = publish_beside  # type: ignore[method-assign]


def _counts_not_caught_up() -> None:
    """Take counting up where folding goes on, not where it was published last."""

    async def skip(self: ItemCounting, partition: int, changes: PartitionChanges, stop: asyncio.Event) -> None:
        changes.recount([], changes.next_offset + changes.behind)

    ItemCounting.recount = skip  # type: ignore[method-assign]


def _counts_before_mark() -> None:
    """Publish counts in one transaction, and their mark in the next one."""
    publish = TransactionalWriter.publish

    async def publish_twice(self: TransactionalWriter, batch: FoldedBatch) -> int | None:
        if len(batch.derived) > 1:
            await publish(self, replace(batch, derived=batch.derived[:-1]))
            batch = replace(batch, derived=batch.derived[-1:])
        return await publish(self, batch)

    TransactionalWriter.publish = publish_twice  # type: ignore[method-assign]


BROKEN: Mapping[str, BrokenBuild] = {
    "table_before_commit": BrokenBuild(_table_before_commit, ("begin", "send", "sent", "offsets", "commit")),
    "offsets_before_changelog": BrokenBuild(_offsets_before_changelog, TRANSACTION_POINTS),
    # Before the transaction is open: an open one holds the heir's restore up until the broker aborts it.
    "no_fence": BrokenBuild(_no_fence, ("fold", "folded", "begin", "send"), pauses=True),
    "dirty_restore": BrokenBuild(_dirty_restore, ("sent", "offsets", "commit")),
    "restore_skips": BrokenBuild(_restore_skips, ("committed", "write")),
    "erasures_before_states": BrokenBuild(_erasures_before_states, ("erase_committed",)),
    "restore_keeps_erased": BrokenBuild(_restore_keeps_erased, ERASURE_POINTS),
    "counts_unfenced": BrokenBuild(_counts_unfenced, ("counts",), pauses=True),
    "counts_not_caught_up": BrokenBuild(_counts_not_caught_up, ("fold", "written", "counts")),
    "counts_before_mark": BrokenBuild(_counts_before_mark, ("count_committed",)),
}
