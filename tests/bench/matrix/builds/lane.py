"""Builds of the listen lane that are broken on purpose, each in one promise of its protocol."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from sidestream.models.history import is_erased
from sidestream.models.history.blocks import KEY_MARK
from sidestream.streams.listens.durable.transactions import TransactionalWriter
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.listens.folding import Folding
from sidestream.streams.listens.restore.followed import FollowedTable
from sidestream.streams.listens.source import ListenSource
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from tests.bench.matrix.faults.clients import FaultyClients
from tests.bench.matrix.judging.tables import is_reserved

SKIPPED_RECORDS = 3


def table_before_commit() -> None:
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


def offsets_before_changelog() -> None:
    """Commit the source offset in a transaction of its own, before the values are on the changelog."""
    publish = TransactionalWriter.publish

    async def commit_then_publish(self: TransactionalWriter, batch: FoldedBatch) -> int | None:
        await publish(self, replace(batch, values={}, dead_letters=()))
        return await publish(self, batch)

    TransactionalWriter.publish = commit_then_publish  # type: ignore[method-assign]


def no_fence() -> None:
    """Give every process transactional ids of its own: nobody is ever fenced."""
    FaultyClients.rename = staticmethod(lambda name: f"{name}-{os.getpid()}")


def dirty_restore() -> None:
    """Restore what was never committed, too."""
    FaultyClients.isolates = False


def restore_skips() -> None:
    """Begin the restore a few records after the stored position."""
    FaultyClients.restore_skip = SKIPPED_RECORDS


def erasures_before_states() -> None:
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


def restore_keeps_erased() -> None:
    """Restore values, but not that they were deleted or erased."""
    apply = FollowedTable._apply

    def is_value(record: Any) -> bool:
        if record.value is None or is_reserved(record.key):
            return record.value is not None
        return record.key[:1] == KEY_MARK or not is_erased(record.value)

    async def apply_values(self: FollowedTable, records: Sequence[Any], metrics: LaneMetrics) -> None:
        if values := [record for record in records if is_value(record)]:
            await apply(self, values, metrics)

    FollowedTable._apply = apply_values  # type: ignore[method-assign]


def seek_late() -> None:
    """Read the source from one record after the first that is not folded."""
    begin = ListenSource.begin

    def begin_late(self: ListenSource, partition: int, fold: Folding) -> None:
        begin(self, partition, fold)
        self.reader.begin(partition, fold.next_offset + 1)

    ListenSource.begin = begin_late  # type: ignore[method-assign]


def retry_without_values() -> None:
    """Send again, after an abort, the offsets of a batch without its values."""

    async def transaction(self: TransactionalWriter, producer: AIOKafkaProducer, batch: FoldedBatch) -> int | None:
        try:
            last = await self._send(producer, batch)
        except KafkaError as exc:
            if not exc.retriable:
                raise
            await producer.abort_transaction()
            last = await self._send(producer, replace(batch, values={}, dead_letters=(), derived=()))
        await producer.commit_transaction()
        return last

    TransactionalWriter._transaction = transaction  # type: ignore[method-assign]
