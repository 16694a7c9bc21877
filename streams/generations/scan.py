"""Reads the last readable record of every item in one partition of `catalog-items.v1`, at a limited rate."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.streams.contracts.decode import Limits, decode_catalog_item, decode_item_key
from sidestream.streams.errors import BadRecord
from sidestream.streams.generations.last_records import LastRecords
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.pace import Pace
from sidestream.streams.tokenizing.records import ConsumedRecord


class CatalogueScan:
    """One partition, up to its end offset when the scan began.

    Args:
        clients: Kafka clients.
        topic: `catalog-items.v1`.
        partition: The partition.
        limits: Bounds that catalogue records must keep.
        pace: Records per batch, and the rest between batches.
        is_wanted: Called between batches; the scan ends once it returns False.
        thread: Thread in which records are decoded.
    """

    def __init__(
        self,
        clients: Clients,
        topic: str,
        partition: int,
        limits: Limits,
        pace: Pace,
        is_wanted: Callable[[], bool],
        thread: ThreadPoolExecutor,
    ) -> None:
        self._follower = Follower(clients, {topic: [partition]}, restarts=False)
        self._limits = limits
        self._pace = pace
        self._is_wanted = is_wanted
        self._thread = thread

    async def items(self) -> AsyncGenerator[list[ConsumedRecord], None]:
        """Read the last readable record of every item that was not removed.

        Yields:
            Batches, in offset order; the time that the caller spends on them counts for the rest.

        Raises:
            BrokerError: Kafka cannot be read.
            TopicError: The topic was recreated during the scan.
        """
        async with self._follower:
            last = LastRecords()
            async with aclosing(self._batches()) as batches:
                async for records in batches:
                    await asyncio.get_running_loop().run_in_executor(self._thread, self._collect, records, last)
            if not self._is_wanted():
                return
            offsets = last.offsets()
            self._follower.rewind()
            async with aclosing(self._batches()) as batches:
                async for records in batches:
                    if selected := _select(records, offsets):
                        yield selected

    async def _batches(self) -> AsyncGenerator[Sequence[Any], None]:
        reading = self._follower.to_end(max_records=self._pace.max_records, pace=self._pace)
        async with aclosing(reading) as batches:
            async for batch in batches:
                if not self._is_wanted():
                    return
                yield batch.records

    def _collect(self, records: Sequence[Any], last: LastRecords) -> None:
        for record in records:
            try:
                item = decode_catalog_item(record.key, record.value, record.timestamp, self._limits)
                item_id = decode_item_key(record.key)
            except BadRecord:
                continue  # already in the dead letters; the item's earlier record stays in effect
            last.add(item_id, record.offset, removes=item is None)


def _select(records: Sequence[Any], offsets: npt.NDArray[np.int64]) -> list[ConsumedRecord]:
    wanted = np.isin([record.offset for record in records], offsets, assume_unique=True)
    return [
        ConsumedRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, list(r.headers or ()))
        for r, is_wanted in zip(records, wanted.tolist(), strict=True)
        if is_wanted
    ]
