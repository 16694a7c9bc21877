"""Sends answers until they are acknowledged, and replaces a producer that cannot send any more.

A producer whose sender has died, or that gets no acknowledgement within a deadline, is replaced as a whole, and the
answers that it owes are sent again. One that was written all the same comes twice, under the same `candidate_set_id`.
What would meet the same answer again (its size, missing rights, no topic) is an error.

Unlike `kafka/lasting/producer`, whose calls wait for each other, it has many answers in flight.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from sidestream.streams.errors import BrokerError, LaneError, NotAcknowledged
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.producing import acknowledged, close_producer, may_pass

# Longest wait for an acknowledgement, and for the start of a producer; below the watchdog's limit.
ACKNOWLEDGED_S = 4.0
# How long a replaced producer may still send what it holds: other partitions may be in order.
CLOSE_S = 1.0
# A topic that several producers in a row do not find is gone; one that was just created may be missing once.
MAX_MISSING = 2
# Named in the messages of outages.
_PART = "candidates"


class Answer(NamedTuple):
    """A candidate set or dead letter, ready to send to the partition of its session-start."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class AnswerSender:
    """Sends the answers of a worker through one producer at a time.

    Args:
        clients: Kafka client factory.
        on_unsent: Called when an answer was not acknowledged at the first attempt.
        limit_s: Longest wait for an acknowledgement, in seconds.

    Attributes:
        num_failed: Number of attempts that failed, of answers and of producers.
        unsent: Answers that are being sent again, by partition; without partitions that have none.
    """

    def __init__(self, clients: Clients, on_unsent: Callable[[], None], limit_s: float = ACKNOWLEDGED_S) -> None:
        self.num_failed = 0
        self.unsent: Counter[int] = Counter()
        self._clients, self._on_unsent, self._limit_s = clients, on_unsent, limit_s
        self._outage = clients.outages.of(_PART)
        self._producer: AIOKafkaProducer | None = None
        self._replacing = asyncio.Lock()
        self._closing: set[asyncio.Task[bool]] = set()
        self._num_missing: Counter[str] = Counter()

    async def open(self) -> None:
        """Start the first producer.

        Raises:
            BrokerError: Kafka does not answer.
        """
        try:
            self._producer = await self._start()
        except (KafkaError, TimeoutError) as exc:
            msg = f"{self._clients.bootstrap}: the producer of candidates cannot be started ({exc!r}); check the broker"
            raise BrokerError(msg) from exc

    async def close(self) -> None:
        """Close the producers; answers that are not acknowledged are given up."""
        if self._producer is not None:
            self._close(self._producer)
        if self._closing:
            await asyncio.wait(self._closing)

    async def send(self, record: Any, answer: Answer, on_sent: Callable[[], None]) -> None:
        """Send an answer until it is acknowledged, or this is cancelled.

        Args:
            record: The session-start.
            answer: Its answer.
            on_sent: Called when the answer has left for Kafka; at each attempt.

        Raises:
            LaneError: Kafka will not take the answer.
        """
        is_unsent = False
        try:
            while True:
                producer = self._started(record)
                try:
                    await acknowledged(_publish(producer, record, answer, on_sent), producer, self._limit_s)
                    return
                except (KafkaError, NotAcknowledged) as exc:
                    self.num_failed += 1
                    if not is_unsent:
                        is_unsent = True
                        self.unsent[record.partition] += 1
                        self._on_unsent()
                    if _is_refusal(exc):
                        raise _not_acknowledged(record, answer.topic, exc) from exc
                    await self._replace(producer, answer.topic, exc)
                    if self._num_missing[answer.topic] >= MAX_MISSING:
                        raise _not_acknowledged(record, answer.topic, UnknownTopicOrPartitionError()) from exc
        finally:
            if is_unsent:
                self.unsent[record.partition] -= 1
                self.unsent += Counter[int]()  # drops the partitions that have none
                if not self.unsent:
                    self._outage.end()

    def _started(self, record: Any) -> AIOKafkaProducer:
        if self._producer is None:
            msg = f"{record.topic}: records came before the producer was started; restart the worker"
            raise LaneError(msg)
        return self._producer

    async def _start(self) -> AIOKafkaProducer:
        producer, is_started = self._clients.async_producer(linger_ms=0), False
        try:
            async with asyncio.timeout(self._limit_s):
                await producer.start()
            is_started = True
            return producer
        finally:
            if not is_started:
                self._close(producer)

    async def _replace(self, producer: AIOKafkaProducer, topic: str, exc: Exception) -> None:
        """Replace a producer that could not send to a topic, unless another answer has done so; tries for ever."""
        async with self._replacing:
            while self._producer is producer:
                await self._outage.wait(f"{topic}: {str(exc) or repr(exc)}")
                try:
                    self._producer = await self._start()
                except (KafkaError, TimeoutError) as error:
                    exc = error
                    self.num_failed += 1
                else:
                    self._close(producer)
                    is_missing = await self._is_missing(self._producer, topic)
                    self._num_missing[topic] = self._num_missing[topic] + 1 if is_missing else 0

    def _close(self, producer: AIOKafkaProducer) -> None:
        closing = asyncio.create_task(close_producer(producer, CLOSE_S))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _is_missing(self, producer: AIOKafkaProducer, topic: str) -> bool:
        """Ask Kafka whether it has no such topic; a producer would only wait for it."""
        try:
            async with asyncio.timeout(self._limit_s):
                return topic not in (await producer.client.fetch_all_metadata()).topics()
        except (KafkaError, TimeoutError):
            return False


async def _publish(producer: AIOKafkaProducer, record: Any, answer: Answer, on_sent: Callable[[], None]) -> None:
    # The record's own partition: a candidate set stays in its listener's partition even if the producer of the
    # session-start used another partitioner.
    sent = await producer.send(
        answer.topic, answer.value, answer.key, partition=record.partition, headers=answer.headers
    )
    on_sent()
    await sent


def _is_refusal(exc: BaseException | None) -> bool:
    """Whether the broker refused this, or ended the producer's sender, with an error that comes again."""
    while exc is not None:
        if isinstance(exc, KafkaError) and not may_pass(exc):
            return True
        exc = exc.__cause__
    return False


def _not_acknowledged(record: Any, topic: str, exc: Exception) -> LaneError:
    return LaneError(
        f"{topic}: the answer to {record.topic}/{record.partition}/{record.offset} was not acknowledged "
        f"({exc!r}); check the broker, then restart the worker, which answers it again"
    )
