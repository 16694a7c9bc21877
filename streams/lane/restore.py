"""Rebuilding local tables from their changelog, with a consumer of our own and explicit positions.

The rules that make it safe, each learned from lost events:

* no group and no position left over from anybody: every partition is sought to `stored + 1` before the first fetch;
* the end is read once, after the committed source offset, and reading stops by position, not by record: the last
  offsets of a transactional changelog are control records that are never delivered, and compaction leaves holes;
* a database whose stored offset does not fit the changelog (beyond its end, or before its start, where records were
  deleted unseen) is emptied and rebuilt: the changelog is the truth, the database a cache.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.connect import Clients
from streams.errors import RestoreError
from streams.lane.metrics import LaneMetrics
from streams.lane.table import PartitionTable, Positions

logger = logging.getLogger(__name__)

# Bounds how long a revoke waits for a restore to notice; records wake the fetch at once anyway.
POLL_MS = 200


@dataclass(slots=True)
class RestoreProgress:
    """How far one partition's restore has come, in changelog offsets."""

    partition: int
    start: int
    position: int
    end: int

    @property
    def remaining(self) -> int:
        """Offsets still to read; compaction makes the number of records smaller."""
        return max(0, self.end - self.position)


class Restorer:
    """Rebuilds the tables of one assignment.

    Args:
        topic: Changelog topic.
        clients: Factory of Kafka clients.
        batch_records: Records in one bulk write.
        metrics: Told how many records were read.
    """

    def __init__(self, topic: str, clients: Clients, batch_records: int, metrics: LaneMetrics) -> None:
        self.topic = topic
        self.progress: dict[int, RestoreProgress] = {}
        self._clients = clients
        self._batch_records = batch_records
        self._metrics = metrics

    async def restore(self, tables: Mapping[int, PartitionTable], is_stopped: Callable[[], bool]) -> None:
        """Bring tables up to the end of their changelog as it is now.

        Args:
            tables: Open databases by partition.
            is_stopped: Asked between reads; once true, restoring ends where it is, consistently.

        Raises:
            RestoreError: The changelog cannot be read.
        """
        self.progress = {}
        if not tables:
            return
        consumer = self._clients.async_consumer(auto_offset_reset="none")
        try:
            await consumer.start()
            await self._seek(consumer, tables)
            while not is_stopped() and any(progress.remaining for progress in self.progress.values()):
                fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=self._batch_records)
                for tp, records in fetched.items():
                    await self._apply(tables[tp.partition], records)
                for partition, progress in self.progress.items():
                    progress.position = await consumer.position(TopicPartition(self.topic, partition))
            for partition, table in tables.items():
                self._close_gap(table, self.progress[partition])
        except KafkaError as exc:
            msg = (
                f"changelog {self.topic}: cannot be read ({exc!r}); check the broker and `sidestream topics check`, "
                "then restart the worker"
            )
            raise RestoreError(msg) from exc
        finally:
            await consumer.stop()

    async def _seek(self, consumer: AIOKafkaConsumer, tables: Mapping[int, PartitionTable]) -> None:
        partitions = {partition: TopicPartition(self.topic, partition) for partition in tables}
        consumer.assign(list(partitions.values()))
        begins = await consumer.beginning_offsets(list(partitions.values()))
        ends = await consumer.end_offsets(list(partitions.values()))
        for partition, tp in partitions.items():
            start = _start(tables[partition], begins[tp], ends[tp])
            consumer.seek(tp, start)
            self.progress[partition] = RestoreProgress(partition, start, start, ends[tp])

    async def _apply(self, table: PartitionTable, records: Sequence[Any]) -> None:
        last = records[-1].offset
        if records[0].offset <= table.positions.changelog_offset:
            # Cannot happen with an own consumer and an explicit seek; if it did, the stored offset would be a lie.
            msg = (
                f"changelog {self.topic}: expected records after offset {table.positions.changelog_offset}, got "
                f"{records[0].offset}; restart the worker"
            )
            raise RestoreError(msg)
        values = {record.key: record.value for record in records}
        await asyncio.to_thread(table.write, values, replace(table.positions, changelog_offset=last))
        self._metrics.restored(len(records))

    def _close_gap(self, table: PartitionTable, progress: RestoreProgress) -> None:
        # Control records and compacted tails up to the position were passed over: they hold nothing for us.
        if progress.position - 1 > table.positions.changelog_offset:
            table.write({}, replace(table.positions, changelog_offset=progress.position - 1))


def _start(table: PartitionTable, begin: int, end: int) -> int:
    stored = table.positions.changelog_offset
    if stored < 0:
        return begin
    if begin <= stored + 1 <= end:
        return stored + 1
    logger.warning(
        "user-state table %s holds changelog offset %d, the changelog has %d to %d: rebuilding it from the changelog",
        table.path,
        stored,
        begin,
        end,
    )
    table.clear()
    table.write({}, Positions())
    return begin
