"""Offsets of one group, asked from outside, also while brokers are restarted."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sidestream.streams.kafka.clients import Clients

# A client whose broker went away may answer no more; another one does.
ASK_S, CLOSE_S, PATIENCE_S = 10.0, 5.0, 120.0
PAUSE_S = 0.2


class GroupOffsets:
    """Committed offsets of a group, and ends of topics.

    Args:
        clients: The Kafka.
        group_id: Which group; this is no member of it.
    """

    def __init__(self, clients: Clients, group_id: str) -> None:
        self._clients, self._group_id = clients, group_id
        self._consumer: AIOKafkaConsumer | None = None

    async def ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Give the ends of partitions."""
        return dict(await self._ask(lambda consumer: consumer.end_offsets(list(tps))))

    async def committed(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Give the committed offsets of partitions; 0 where there is none."""

        async def ask(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
            offsets = await asyncio.gather(*(consumer.committed(tp) for tp in tps))
            return {tp: offset or 0 for tp, offset in zip(tps, offsets, strict=True)}

        found: dict[TopicPartition, int] = await self._ask(ask)
        return found

    async def close(self) -> None:
        """Close the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await consumer.stop()

    async def _ask(self, ask: Callable[[AIOKafkaConsumer], Awaitable[Any]]) -> Any:
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                async with asyncio.timeout(ASK_S):
                    if self._consumer is None:
                        self._consumer = self._clients.async_consumer(group_id=self._group_id)
                        await self._consumer.start()
                    return await ask(self._consumer)
            except (KafkaError, TimeoutError):
                await self.close()
                if time.monotonic() > until_s:
                    raise
                await asyncio.sleep(PAUSE_S)
