"""Readers of what workers left behind: local databases, and topics that are read on from where they were read last."""

import asyncio
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aiokafka import TopicPartition
from rocksdict import AccessType, Options, Rdict

from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.restore import origin
from sidestream.streams.listens.table.meta import META_KEY

# Version of the layout, changelog offset, next source offset: the beginning of what a database says about itself.
_META = struct.Struct("<Bqq")
# The broker aborts what a killed worker has left open after ten seconds.
OPEN_S = 60.0


def is_reserved(key: bytes) -> bool:
    """Tell whether a key describes its database or changelog, and no user."""
    return key == META_KEY or origin.is_reserved(key)


@dataclass
class Table:
    """What a database of one partition holds; offset -1 for nothing."""

    partition: int
    changelog_offset: int
    entries: dict[bytes, bytes]


def read_tables(folder: Path) -> Iterator[Table]:
    """Read the databases of a worker that has ended, without changing them."""
    for path in sorted(folder.rglob("*.db")):
        if not (path / "CURRENT").exists():  # killed before RocksDB had made it: the next worker does
            yield Table(int(path.stem), -1, {})
            continue
        database = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only())
        try:
            entries = cast(dict[bytes, bytes], dict(database.items()))  # as raw mode has them
        finally:
            database.close()
        meta = entries.get(META_KEY)
        offset = _META.unpack_from(meta)[1] if meta is not None else -1
        yield Table(int(path.stem), offset, {k: v for k, v in entries.items() if not is_reserved(k)})


class Tail:
    """The records of a topic, each given once, in the order of their partition.

    Args:
        clients: The Kafka.
        topic: Which.
        partitions: How many it has.
    """

    def __init__(self, clients: Clients, topic: str, partitions: int) -> None:
        self._clients = clients
        self._positions = {TopicPartition(topic, number): 0 for number in range(partitions)}

    def skip(self, begins: Mapping[int, int]) -> None:
        """Go on with these offsets, by partition: what comes before them is no longer in the log."""
        for tp, position in self._positions.items():
            self._positions[tp] = max(position, begins.get(tp.partition, 0))

    async def read(self, reach: Mapping[int, int] | None = None, *, whole: bool = False) -> list[Any]:
        """Read what was committed since the last time.

        Commits become visible in one partition after the other, some time after they were acknowledged.

        Args:
            reach: Offsets to reach at least, by partition.
            whole: Whether to wait until every transaction that has begun by now is committed or aborted.

        Raises:
            TimeoutError: The offsets are not reached, or a transaction is not ended.
        """
        consumer = self._clients.async_consumer()
        await consumer.start()
        try:
            consumer.assign(list(self._positions))
            ends = await consumer.end_offsets(list(self._positions))
            for tp, end in ends.items():
                ends[tp] = max(end, (reach or {}).get(tp.partition, 0))
            if whole:
                ends = await self._high_ends()
            for tp, position in self._positions.items():
                consumer.seek(tp, position)
            records: list[Any] = []
            async with asyncio.timeout(OPEN_S):
                while any(self._positions[tp] < end for tp, end in ends.items()):
                    for fetched in (await consumer.getmany(timeout_ms=100)).values():
                        records.extend(fetched)
                    for tp in self._positions:
                        self._positions[tp] = await consumer.position(tp)
            return records
        finally:
            await consumer.stop()

    async def _high_ends(self) -> dict[TopicPartition, int]:
        consumer = self._clients.async_consumer(read_committed=False)
        await consumer.start()
        try:
            return dict(await consumer.end_offsets(list(self._positions)))
        finally:
            await consumer.stop()
