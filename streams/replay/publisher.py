"""Publishes rows of a log folder to Kafka topics."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sidestream.models.data import LogRow, TopicName
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients

LINGER_MS = 5


class TopicPublisher:
    """Publishes rows in order with an idempotent producer; use it as an async context manager.

    Args:
        clients: Kafka clients.
        topics: Target topics.
        stamp: Kafka timestamps: the wall clock, or the rows' own times.
    """

    def __init__(self, clients: Clients, topics: Topics, stamp: Literal["now", "log"] = "now") -> None:
        self._clients = clients
        self._names: dict[TopicName, str] = {
            "catalog": topics.catalog_items.name,
            "listens": topics.listens.name,
            "heldout": topics.listens.name,
            "sessions": topics.session_starts.name,
        }
        self._stamp = stamp
        self._partitioner = topics.listens.partitioner
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        self._producer = self._clients.async_producer(linger_ms=LINGER_MS, partitioner=self._partitioner)
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def publish(self, rows: Sequence[LogRow]) -> None:
        """Send rows; return once all are acknowledged.

        Args:
            rows: Rows in log order, which each topic keeps.

        Raises:
            BrokerError: The publisher is not open, or a row was not acknowledged.
        """
        if self._producer is None:
            msg = "the replay's publisher is not open; use it in `async with`"
            raise BrokerError(msg)
        try:
            acks = [
                await self._producer.send(
                    self._names[row.topic],
                    row.value,
                    row.key.encode(),
                    timestamp_ms=row.at if self._stamp == "log" else None,
                )
                for row in rows
            ]
            await asyncio.gather(*acks)
        except KafkaError as error:
            msg = (
                f"{self._clients.bootstrap}: a batch of {len(rows)} rows was not acknowledged ({error!r}); "
                "check the broker and play again: the replay continues from its position"
            )
            raise BrokerError(msg) from error
