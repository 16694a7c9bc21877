"""Reads one partition of `catalog-items.v1` from its start, at a pace: the last readable record of every item."""

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
from sidestream.streams.tokenizing.events import Source


class CatalogueScan:
    """One partition, up to where it ended when the scan began.

    Args:
        clients: The Kafka.
        topic: `catalog-items.v1`.
        partition: Which.
        limits: What catalogue records must keep.
        pace: Records at once, and the rest between batches.
        goes_on: Asked between batches; once it says no, the scan ends.
        thread: Where records are decoded.
    """

    def __init__(
        self,
        clients: Clients,
        topic: str,
        partition: int,
        limits: Limits,
        pace: Pace,
        goes_on: Callable[[], bool],
        thread: ThreadPoolExecutor,
    ) -> None:
        self._follower = Follower(clients, {topic: [partition]}, restarts=False)
        self._limits = limits
        self._pace = pace
        self._goes_on = goes_on
        self._thread = thread

    async def items(self) -> AsyncGenerator[list[Source], None]:
        """Read the last readable record of every item that is there.

        Yields:
            Batches, in offset order; the time that their use takes counts for the rest.

        Raises:
            BrokerError: Kafka cannot be read.
            TopicError: The topic was recreated meanwhile.
        """
        async with self._follower:
            last = LastRecords()
            async with aclosing(self._batches()) as batches:
                async for records in batches:
                    await asyncio.get_running_loop().run_in_executor(self._thread, self._note, records, last)
            if not self._goes_on():
                return
            offsets = last.offsets()
            self._follower.rewind()
            async with aclosing(self._batches()) as batches:
                async for records in batches:
                    if sources := _among(records, offsets):
                        yield sources

    async def _batches(self) -> AsyncGenerator[Sequence[Any], None]:
        reading = self._follower.to_end(max_records=self._pace.max_records, pace=self._pace)
        async with aclosing(reading) as batches:
            async for batch in batches:
                if not self._goes_on():
                    return
                yield batch.records

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
