"""Reads one partition of `catalog-items.v1` from its start, gently: what is there, and whose word is the last."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from aiokafka import AIOKafkaConsumer, TopicPartition

from sidestream.streams.contracts.decode import Limits, decode_catalog_item, decode_item_key
from sidestream.streams.errors import BadRecord
from sidestream.streams.generations.last_records import LastRecords
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.tokenizing.events import Source

_POLL_MS = 200


class CatalogueScan:
    """One partition, up to where it ended when the scan began.

    Args:
        clients: The Kafka.
        topic: `catalog-items.v1`.
        partition: Which.
        limits: What catalogue records must keep.
        batch: Records at once.
        rest: Rest between batches, in multiples of the time that they took.
        goes_on: Asked between batches; once it says no, the scan ends.
        thread: Where records are decoded.
    """

    def __init__(
        self,
        clients: Clients,
        topic: str,
        partition: int,
        limits: Limits,
        batch: int,
        rest: float,
        goes_on: Callable[[], bool],
        thread: ThreadPoolExecutor,
    ) -> None:
        self._clients = clients
        self._place = TopicPartition(topic, partition)
        self._limits = limits
        self._batch = batch
        self._rest = rest
        self._goes_on = goes_on
        self._thread = thread

    async def items(self) -> AsyncIterator[list[Source]]:
        """Read the last readable record of every item that is there.

        Yields:
            Batches, in offset order; the time that their use takes counts for the rest.
        """
        consumer = self._clients.async_consumer(auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([self._place])
            end = (await consumer.end_offsets([self._place]))[self._place]
            last = LastRecords()
            async for records in self._batches(consumer, end):
                await asyncio.get_running_loop().run_in_executor(self._thread, self._note, records, last)
            offsets = last.offsets()
            async for records in self._batches(consumer, end):
                if sources := _among(records, offsets):
                    yield sources
        finally:
            await consumer.stop()

    async def _batches(self, consumer: AIOKafkaConsumer, end: int) -> AsyncIterator[Sequence[Any]]:
        await consumer.seek_to_beginning(self._place)
        while self._goes_on() and await consumer.position(self._place) < end:
            found = await consumer.getmany(timeout_ms=_POLL_MS, max_records=self._batch)
            begun_s = time.perf_counter()
            yield [record for record in found.get(self._place, ()) if record.offset < end]
            await asyncio.sleep(self._rest * (time.perf_counter() - begun_s))

    def _note(self, records: Sequence[Any], last: LastRecords) -> None:
        for record in records:
            try:
                item = decode_catalog_item(record.key, record.value, record.timestamp, self._limits)
                item_id = decode_item_key(record.key)
            except BadRecord:
                continue  # a dead letter since it came; what the item had before stays
            last.note(item_id, record.offset, removes=item is None)


def _among(records: Sequence[Any], offsets: npt.NDArray[np.int64]) -> list[Source]:
    wanted = np.isin([record.offset for record in records], offsets, assume_unique=True)
    return [
        Source(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, list(r.headers or ()))
        for r, is_wanted in zip(records, wanted.tolist(), strict=True)
        if is_wanted
    ]
