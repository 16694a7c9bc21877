"""Idempotent producer that lasts over restarts of brokers: records are sent again until the broker has them.

aiokafka retries by itself while its sender lives. Where the sender has ended, a record was refused or no answer came,
the producer is replaced: sequence numbers of refused records are used up, and all later ones would be refused too.
Delivery is at least once, and in the order of the calls; nothing is written after `send` has returned or raised, as far
as a client can tell.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.errors import NotAcknowledged
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.producing import acknowledged, close_producer, may_pass

# Twice aiokafka's own limit for a request: a producer that has not answered by then is stuck.
STUCK_S = 60.0
# A wait for acknowledgements that is longer is an outage.
SLOW_S = 2.0
CLOSE_S = 2.0


class LastingProducer:
    """A producer that is replaced when it cannot send any more; calls of `send` wait for each other.

    Args:
        clients: Kafka client factory.
        part: Part of the worker that it sends for, named in messages.
        make: Creates a producer, not started; an idempotent one by default.
        partition_of: Returns the partition of a record from topic and key; None to leave it to the partitioner.
    """

    def __init__(
        self,
        clients: Clients,
        part: str,
        make: Callable[[], AIOKafkaProducer] | None = None,
        partition_of: Callable[[str, bytes | None], int | None] = lambda topic, key: None,
    ) -> None:
        self._make = make or clients.async_producer
        self._outage = clients.outages.of(part)
        self._partition_of = partition_of
        self._producer: AIOKafkaProducer | None = None
        self._is_wanted = False
        self._sending = asyncio.Lock()

    async def start(self) -> None:
        """Connect, and wait while Kafka is away.

        Raises:
            KafkaError: The broker refuses the producer for good.
        """
        self._is_wanted = True
        while self._is_wanted and self._producer is None:
            try:
                await self._open()
            except KafkaError as error:
                if not may_pass(error):
                    raise
                await self._outage.wait(error)
        self._outage.end()

    async def stop(self, within_s: float = CLOSE_S) -> None:
        """Close; records that were not acknowledged by then are not sent any more.

        Args:
            within_s: How long queued records may take.
        """
        self._is_wanted = False
        self._outage.end()
        await self._drop(within_s)

    async def send(
        self, records: Sequence[Outgoing], is_wanted: Callable[[], bool] = lambda: True, within_s: float | None = None
    ) -> bool:
        """Send records until all are acknowledged.

        Args:
            records: Topic, key, value and headers of each.
            is_wanted: Whether they are still to be sent; asked before each attempt.
            within_s: Give up after so long; None to wait as long as Kafka is away.

        Returns:
            Whether all are acknowledged; False if they are not wanted any more.

        Raises:
            NotAcknowledged: The time is over; the records are not sent any more.
            KafkaError: The broker refuses a record for good.
        """
        try:
            async with asyncio.timeout(within_s), self._sending:
                return await self._send(records, is_wanted)
        except TimeoutError as error:
            await self.abandon()
            msg = f"expected {len(records)} acknowledgements within {within_s:g} s, got fewer; check the brokers"
            raise NotAcknowledged(msg) from error

    async def abandon(self) -> None:
        """Give up what is being sent: nothing of it is written from now on; the next call has a new producer."""
        await self._drop(0.0)

    async def _send(self, records: Sequence[Outgoing], is_wanted: Callable[[], bool]) -> bool:
        slow = asyncio.get_running_loop().call_later(SLOW_S, self._outage.begin, "no acknowledgements yet")
        try:
            while is_wanted() and self._is_wanted:
                try:
                    producer = self._producer or await self._open()
                    await acknowledged(self._queue(producer, records), producer, STUCK_S)
                    return True
                except (NotAcknowledged, KafkaError) as error:
                    await self._drop(0.0)
                    if not may_pass(error):
                        raise
                    await self._outage.wait(error)
            return False
        finally:
            slow.cancel()
            self._outage.end()

    async def _queue(self, producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> None:
        acks: list[asyncio.Future[Any]] = []
        try:
            for topic, key, value, headers in records:
                partition = self._partition_of(topic, key)
                acks.append(await producer.send(topic, value, key, partition=partition, headers=headers))
            await asyncio.gather(*acks)
        except BaseException:
            for ack in acks:  # asyncio logs errors that nobody reads
                ack.cancel()
            raise

    async def _open(self) -> AIOKafkaProducer:
        producer = self._make()
        try:
            await producer.start()
        except BaseException:
            await close_producer(producer, 0.0)
            raise
        self._producer = producer
        return producer

    async def _drop(self, within_s: float) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer, within_s)
