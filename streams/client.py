"""The client for users of Sidestream: publish listens, items and session-starts, consume candidates.

A thin layer over kafka-python: correct topics, keys and partitions, idempotent acks=all producer, and one candidate set
per request although delivery is at least once. It needs a Kafka and nothing else of Sidestream.
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.producer.future import FutureRecordMetadata
from pydantic import ValidationError

from sidestream.models.records import (
    CandidateSet,
    CatalogItem,
    ItemSids,
    Listen,
    LiveSegment,
    Record,
    SessionStart,
    UserErasure,
)
from sidestream.models.records.candidates import candidate_set_id
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import TopicSpec, build_topics
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.blocking import BlockingFollower
from sidestream.streams.kafka.clients import Clients, KafkaSettings, OffsetReset
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.runtime.clock import WallClock

POLL_MS = 200
# Repeats come from redelivery after a crash, soon after the first: 10,000 sets are minutes of a busy partition.
REMEMBERED_SETS = 10_000


class CandidateStream:
    """An iterator over arriving candidate sets, each once; must be closed.

    The position is fixed when the stream is opened, so the answer to a later request cannot be missed.

    Args:
        consumer: Member of a group, whose position is committed, or a reader without a group; closed with the stream.

    Attributes:
        repeats: Number of skipped sets that had been returned before.
        unreadable: Number of skipped values that are not candidate sets.
    """

    def __init__(self, consumer: KafkaConsumer | BlockingFollower) -> None:
        self.repeats = 0
        self.unreadable = 0
        self._consumer = consumer
        self._seen: OrderedDict[str, None] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[CandidateSet]:
        while True:
            yield from self.poll(POLL_MS)

    def within(self, timeout_s: float) -> Iterator[CandidateSet]:
        """Iterate until a timeout.

        Args:
            timeout_s: Time from the first poll.

        Yields:
            Candidate sets.
        """
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            yield from self.poll(min(POLL_MS, left_s * 1000))

    def poll(self, timeout_ms: float) -> list[CandidateSet]:
        """Wait for new candidate sets.

        Args:
            timeout_ms: How long to wait if there is none.

        Returns:
            Sets that were not returned before; may be empty.
        """
        if not isinstance(self._consumer, BlockingFollower):
            self._consumer.commit()  # the caller has processed the sets of the last call by now
        new: list[CandidateSet] = []
        for records in self._polled(timeout_ms):
            new.extend(found for record in records if (found := self._read(record.value)) is not None)
        return new

    def close(self) -> None:
        """Leave the group and close the connection."""
        self._consumer.close()

    def _polled(self, timeout_ms: float) -> Iterable[Sequence[Any]]:
        if isinstance(self._consumer, BlockingFollower):
            return [records for _, records in self._consumer.poll(timeout_ms)]
        by_partition: dict[TopicPartition, Sequence[Any]] = self._consumer.poll(timeout_ms=timeout_ms)
        return by_partition.values()

    def _read(self, value: bytes | None) -> CandidateSet | None:
        try:
            found = CandidateSet.from_json(value or b"")
        except ValidationError:
            self.unreadable += 1
            return None
        if found.candidate_set_id in self._seen:
            self.repeats += 1
            return None
        self._seen[found.candidate_set_id] = None
        if len(self._seen) > REMEMBERED_SETS:
            self._seen.popitem(last=False)
        return found


class SidestreamClient:
    """Publishes to Sidestream and reads its answers.

    Args:
        kafka: Address (`host:port`), or connection settings.
        topics: Names of the topics and their partitioner; must be those of the workers.
        linger_ms: How long records wait to be sent in a batch; 0 sends each at once.
    """

    def __init__(self, kafka: KafkaSettings | str, topics: TopicSettings | None = None, *, linger_ms: int = 5) -> None:
        settings = KafkaSettings(bootstrap=kafka) if isinstance(kafka, str) else kafka
        self.topics = build_topics(topics or TopicSettings())
        self._clients = Clients(settings)
        self._linger_ms = linger_ms
        self._lazy_producer: KafkaProducer | None = None
        self._failures: list[Exception] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def publish_listen(self, listen: Listen) -> FutureRecordMetadata:
        """Publish a listen; sent in the background, see `flush`.

        Args:
            listen: The listen.

        Returns:
            Future of the record's metadata.
        """
        return self._send(self.topics.listens, listen.user_id, listen)

    def publish_item(self, item: CatalogItem) -> FutureRecordMetadata:
        """Publish a new or changed item; sent in the background, see `flush`."""
        return self._send(self.topics.catalog_items, item.item_id, item)

    def remove_item(self, item_id: str) -> FutureRecordMetadata:
        """Remove an item from the catalogue; sent in the background, see `flush`."""
        return self._send(self.topics.catalog_items, item_id, None)

    def publish_segment(self, segment: LiveSegment) -> FutureRecordMetadata:
        """Publish a segment of a live item: what was just said or played; sent in the background, see `flush`."""
        return self._send(self.topics.live_segments, segment.item_id, segment)

    def publish_session_start(self, start: SessionStart) -> FutureRecordMetadata:
        """Request candidates; they arrive on the candidates topic, see `consume_candidates`."""
        return self._send(self.topics.session_starts, start.user_id, start)

    def erase_user(self, user_id: str, at: int | None = None) -> FutureRecordMetadata:
        """Request the erasure of all of a user's listens; sent in the background, see `flush`.

        Args:
            user_id: The listener.
            at: Listens at or before this time are erased, even if they arrive later; UTC epoch ms, `None` means now. Of
                several requests for one user the topic keeps the last, so its time must not be earlier than that of
                the others.

        Returns:
            Future of the record's metadata.
        """
        at = WallClock()() if at is None else at
        erasure = UserErasure(erasure_id=str(uuid.uuid4()), user_id=user_id, at=at)
        return self._send(self.topics.user_erasures, user_id, erasure)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything published so far is acknowledged by Kafka.

        Args:
            timeout_s: Limit.

        Raises:
            BrokerError: A record could not be delivered.
        """
        failure: Exception | None = None
        try:
            if self._lazy_producer is not None:
                self._lazy_producer.flush(timeout=timeout_s)
        except KafkaError as error:
            failure = error
        if self._failures:
            failure = self._failures[0]
            self._failures.clear()
        if failure is not None:
            msg = f"records were not delivered to {self._clients.bootstrap}: {failure!r}; check the broker and retry"
            raise BrokerError(msg) from failure

    def consume_candidates(self, group_id: str | None = None, *, from_start: bool = False) -> CandidateStream:
        """Read candidate sets of all listeners.

        Args:
            group_id: Consumer group that shares the sets and commits its position; `None` reads all of them.
            from_start: Whether to start with the oldest retained sets (with a group: only if it has no position yet).

        Returns:
            An open stream, to be closed by the caller.

        Raises:
            TopicError: There is no such topic.
            BrokerError: Kafka does not answer.
        """
        topic = self.topics.candidates.name
        if group_id is not None:
            reset: OffsetReset = "earliest" if from_start else "latest"
            consumer = self._clients.consumer(topic, group_id=group_id, auto_offset_reset=reset)
            return CandidateStream(consumer)
        # Positions are looked up now: the end must be that at this call, not at the first poll.
        follower = BlockingFollower(self._clients, {topic: None}, start="beginning" if from_start else "end")
        return CandidateStream(follower)

    def read_catalogue(self) -> dict[str, ItemSids]:
        """Read all items that can be recommended now, with their facts and SIDs; a new connection each time.

        Returns:
            By item id, in the order in which they were last changed in each partition.

        Raises:
            BrokerError: The broker does not answer.
            TopicError: There is no such topic.
        """
        items: dict[str, ItemSids] = {}
        for record in read_topic(self._clients, self.topics.item_sids.name):
            if isinstance(record.value, Unreadable):
                continue
            item_id = (record.key or b"").decode(errors="replace")
            items.pop(item_id, None)
            if record.value is not None:
                items[item_id] = ItemSids.from_json(record.value)
        return items

    def request_candidates(self, start: SessionStart, timeout_s: float = 10.0) -> CandidateSet:
        """Publish a session-start and wait for its candidates; opens a connection per call, for tests and manual use.

        Args:
            start: The request.
            timeout_s: How long to wait.

        Returns:
            The candidates.

        Raises:
            BrokerError: The request was not delivered, or not answered in time.
        """
        wanted = candidate_set_id(start.user_id, start.session_id, start.page)
        with self.consume_candidates() as answers:
            self.publish_session_start(start)
            self.flush(timeout_s)
            for found in answers.within(timeout_s):
                if found.candidate_set_id == wanted:
                    return found
        msg = f"no candidates for session {start.session_id!r} within {timeout_s:g} s; check that a worker is ready"
        raise BrokerError(msg)

    def close(self) -> None:
        """Send pending records and close the connections."""
        if self._lazy_producer is not None:
            self._lazy_producer.close()
            self._lazy_producer = None

    def _send(self, topic: TopicSpec, key: str, value: Record | None) -> FutureRecordMetadata:
        if self._lazy_producer is None:
            self._lazy_producer = self._clients.producer(
                linger_ms=self._linger_ms, partitioner=self.topics.listens.partitioner
            )
        payload = None if value is None else value.to_json()
        try:
            future = self._lazy_producer.send(topic.name, key=key.encode(), value=payload)
        except KafkaError as error:
            msg = f"a record for {topic.name} was rejected: {error!r}; check its size and that the broker answers"
            raise BrokerError(msg) from error
        future.add_errback(self._failures.append)
        return future
