"""Replays dead letters: each is sent once to its source topic, with its original key, headers and bytes.

Replayed records and the mark of the replay are sent in one transaction, under a transactional id of the dead-letter
topic. The producer is opened before the marks are read: a concurrent replay of the same topic is fenced, and the marks
that it committed are seen here. So a letter is replayed exactly once, even if a replay is killed. Without transactions
(on the embedded broker, or without the permission), the mark is sent after the records are acknowledged: a replay that
is killed between the two repeats one batch, which is harmless thanks to event ids and candidate set ids.

Source: KIP-98 (fencing by transactional id).
"""

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced, TransactionalIdAuthorizationFailed

from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.operate.deadletters.letter import Letter, make_mark
from sidestream.streams.operate.deadletters.reader import DeadLetterReader
from sidestream.streams.operate.deadletters.selection import Selection

logger = logging.getLogger(__name__)

BATCH_LETTERS = 200
BATCH_BYTES = 4 << 20


@dataclass(slots=True)
class ReplayReport:
    """The result of a replay, or of its preview.

    Attributes:
        replayed: Letters sent, by source topic.
        before: Selected letters that an earlier replay had sent.
        skipped: Selected letters that cannot be replayed, by obstacle.
        exactly_once: Whether records and marks were sent in transactions.
    """

    replayed: Counter[str] = field(default_factory=Counter)
    before: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    exactly_once: bool = True


class Replayer:
    """Replays dead letters.

    Args:
        clients: Kafka clients.
        reader: Reads the letters.
        stamp: Kafka timestamps of the replayed records: the current time, or those of the original records.
        on_letter: Called for every replayed letter, after its batch is acknowledged.
    """

    def __init__(
        self,
        clients: Clients,
        reader: DeadLetterReader,
        stamp: Literal["now", "original"] = "now",
        on_letter: Callable[[Letter], None] | None = None,
    ) -> None:
        self._clients = clients
        self._reader = reader
        self._stamp = stamp
        self._on_letter = on_letter or (lambda letter: None)

    def preview(self, selection: Selection) -> ReplayReport:
        """Return the report of a `replay` without sending anything."""
        report = ReplayReport()
        for topic in self._reader.letter_topics(selection):
            for letter in self._open_letters(topic, selection, report):
                report.replayed[self._reader.source_of(topic).name] += 1
                self._on_letter(letter)
        return report

    async def replay(self, selection: Selection) -> ReplayReport:
        """Send the selected letters that were not replayed before.

        Args:
            selection: Which letters. Records that fail again during the replay are not included.

        Returns:
            The report.

        Raises:
            BrokerError: A batch was not acknowledged, or another replay took over; sent letters are marked.
        """
        report = ReplayReport()
        for topic in self._reader.letter_topics(selection):
            with _explained(topic):
                async with self._producer(topic, report) as (producer, in_transaction):
                    letters = self._open_letters(topic, selection, report)
                    # Reading blocks, and the producer's tasks must run in the meantime.
                    while batch := await asyncio.to_thread(_next_batch, letters):
                        if in_transaction:
                            async with producer.transaction():
                                await self._send(producer, topic, batch)
                        else:
                            await self._send(producer, topic, batch)
                        report.replayed[self._reader.source_of(topic).name] += len(batch)
                        for letter in batch:
                            self._on_letter(letter)
        return report

    def _open_letters(self, topic: str, selection: Selection, report: ReplayReport) -> Iterator[Letter]:
        done = self._reader.replayed(topic)
        for letter in self._reader.letters(topic, selection):
            if letter.place.offset in done.get(letter.place.partition, ()):
                report.before += 1
            elif (obstacle := letter.obstacle) is not None:
                report.skipped[obstacle] += 1
            else:
                yield letter

    async def _send(self, producer: AIOKafkaProducer, topic: str, batch: Sequence[Letter]) -> None:
        source_topic = self._reader.source_of(topic)
        target = source_topic.name
        partitions = await producer.partitions_for(target)
        by_partition: dict[int, list[int]] = defaultdict(list)
        acks = []
        for letter in batch:
            by_partition[letter.place.partition].append(letter.place.offset)
            source = letter.source
            if source is None:
                continue
            acks.append(
                await producer.send(
                    target,
                    letter.value,
                    letter.key,
                    partition=_partition(source_topic, letter.key, source.partition, partitions),
                    timestamp_ms=source.timestamp if self._stamp == "original" and source.timestamp >= 0 else None,
                    headers=letter.next_headers(),
                )
            )
        await asyncio.gather(*acks)
        for partition, offsets in by_partition.items():
            value, headers = make_mark(offsets)
            await producer.send_and_wait(topic, value, partition=partition, headers=headers)

    @contextlib.asynccontextmanager
    async def _producer(self, topic: str, report: ReplayReport) -> AsyncIterator[tuple[AIOKafkaProducer, bool]]:
        producer = self._clients.async_producer(
            transactional_id=None if self._clients.is_embedded else f"{topic}.replay"
        )
        in_transaction = not self._clients.is_embedded
        try:
            await producer.start()
        except TransactionalIdAuthorizationFailed:
            logger.warning("%s: no permission for transactions as %s.replay: replaying at least once", topic, topic)
            await producer.stop()
            producer, in_transaction = self._clients.async_producer(), False
            await producer.start()
        report.exactly_once &= in_transaction
        try:
            yield producer, in_transaction
        finally:
            await producer.stop()


def _partition(topic: TopicSpec, key: bytes | None, original: int, partitions: Collection[int]) -> int | None:
    """Return where a record goes: workers take a user's records in the user's partition alone."""
    if topic.key == "user_id" and key is not None:
        return partition_of(key, len(partitions), topic.partitioner)
    # That of the item's other records, whichever partitioner wrote them.
    return original if original in partitions else None


def _next_batch(letters: Iterator[Letter]) -> list[Letter]:
    batch: list[Letter] = []
    size = 0
    for letter in islice(letters, BATCH_LETTERS):
        batch.append(letter)
        size += len(letter.value or b"")
        if size >= BATCH_BYTES:
            break
    return batch


@contextlib.contextmanager
def _explained(topic: str) -> Iterator[None]:
    try:
        yield
    except ProducerFenced as error:
        msg = f"{topic}: another replay of these dead letters has started and taken over; run again when it has ended"
        raise BrokerError(msg) from error
    except KafkaError as error:
        msg = (
            f"{topic}: a batch of replayed records was not acknowledged ({error!r}); check the broker and replay "
            "again: acknowledged records are marked and will not be sent again"
        )
        raise BrokerError(msg) from error
