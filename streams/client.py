"""The client for users of Sidestream: publish listens, items and session-starts, consume candidates.

A thin layer over kafka-python: right topics, right keys, murmur2 partitioner, idempotent acks=all producer, and one
candidate set per request although the wire delivers at least once. It needs a Kafka and nothing else of Sidestream.
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
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.blocking import BlockingFollower
from sidestream.streams.kafka.clients import Clients, KafkaSettings, OffsetReset
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.runtime.clock import WallClock

POLL_MS = 200
# Repeats come from redelivery after a crash, close to the first: 10,000 sets are minutes of a busy partition.
REMEMBERED_SETS = 10_000


class CandidateStream:
    """Candidate sets as they come, each once; iterate over it, and close it.

    The position is fixed when the stream is opened, so a request published afterwards cannot be missed.

    Args:
        consumer: Member of a group, whose position is remembered, or a reader without one; closed with the stream.

    Attributes:
        repeats: Sets that were skipped because they had been seen.
        unreadable: Values that were skipped because they are no candidate set.
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
        """Iterate until the time is up.

        Args:
            timeout_s: Time from the first look.

        Yields:
            Candidate sets.
        """
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            yield from self.poll(min(POLL_MS, left_s * 1000))

    def poll(self, timeout_ms: float) -> list[CandidateSet]:
        """Wait for new candidate sets.

        Args:
            timeout_ms: How long to wait where none is there.

        Returns:
            Sets that were not seen before; maybe none.
        """
        if not isinstance(self._consumer, BlockingFollower):
            self._consumer.commit()  # what the last call gave has been used by now
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
        kafka: Address (`host:port`), or settings of the connection.
        topics: Names of the topics; must be those of the workers.
        linger_ms: How long records wait for company before they are sent; 0 where each must go at once.
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
            listen: What happened.

        Returns:
            Becomes the record's place on the topic.
        """
        return self._send(self.topics.listens, listen.user_id, listen)

    def publish_item(self, item: CatalogItem) -> FutureRecordMetadata:
        """Publish a new or changed item; sent in the background, see `flush`."""
        return self._send(self.topics.catalog_items, item.item_id, item)

    def remove_item(self, item_id: str) -> FutureRecordMetadata:
        """Take an item out of the catalogue; sent in the background, see `flush`."""
        return self._send(self.topics.catalog_items, item_id, None)

    def publish_segment(self, segment: LiveSegment) -> FutureRecordMetadata:
        """Tell what was just said or heard in a live item; sent in the background, see `flush`."""
        return self._send(self.topics.live_segments, segment.item_id, segment)

    def publish_session_start(self, start: SessionStart) -> FutureRecordMetadata:
        """Ask for candidates; they come on the candidates topic, see `consume_candidates`."""
        return self._send(self.topics.session_starts, start.user_id, start)

    def erase_user(self, user_id: str, at: int | None = None) -> FutureRecordMetadata:
        """Ask for all of a user's listens to be forgotten; sent in the background, see `flush`.

        Args:
            user_id: Listener.
            at: All that happened at or before it goes, however late it comes in, UTC epoch ms; none for now. Of several
                requests for one user the topic keeps the last, so let it never be earlier.

        Returns:
            Becomes the record's place on the topic.
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
            group_id: Consumer group that shares the work and remembers its position; none reads everything alone.
            from_start: Begin with the oldest kept sets (with a group: only where it has no position yet).

        Returns:
            An open stream; close it.

        Raises:
            TopicError: There is no such topic.
            BrokerError: Kafka does not answer.
        """
        topic = self.topics.candidates.name
        if group_id is not None:
            reset: OffsetReset = "earliest" if from_start else "latest"
            consumer = self._clients.consumer(topic, group_id=group_id, auto_offset_reset=reset)
            return CandidateStream(consumer)
        # Its positions are looked up now: the end must be that of this call, not of the first poll.
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
            item_id = (record.key or b"").decode(errors="replace")
            items.pop(item_id, None)
            if record.value is not None:
                items[item_id] = ItemSids.from_json(record.value)
        return items

    def request_candidates(self, start: SessionStart, timeout_s: float = 10.0) -> CandidateSet:
        """Publish a session-start and wait for its answer; a new connection each time, for people and tests.

        Args:
            start: The request.
            timeout_s: How long to wait.

        Returns:
            The answer.

        Raises:
            BrokerError: The request was not delivered, or nobody answered.
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
        """Send what is left and let go of the connections."""
        if self._lazy_producer is not None:
            self._lazy_producer.close()
            self._lazy_producer = None

    def _send(self, topic: TopicSpec, key: str, value: Record | None) -> FutureRecordMetadata:
        if self._lazy_producer is None:
            self._lazy_producer = self._clients.producer(linger_ms=self._linger_ms)
        payload = None if value is None else value.to_json()
        try:
            future = self._lazy_producer.send(topic.name, key=key.encode(), value=payload)
        except KafkaError as error:
            msg = f"a record for {topic.name} was refused: {error!r}; check its size and that the broker answers"
            raise BrokerError(msg) from error
        future.add_errback(self._failures.append)
        return future
