"""Session lane: its own consumer on the partitions that Faust assigned, with a bounded number of starts in flight.

Why not an agent: agents process one event at a time, which limits a worker to 100-150 sessions per second; listens and
sessions of one process would also share one fetcher, and sessions would wait behind listens.

Delivery: a session-start is committed once its candidates (or its dead letter) and those of all before it are
acknowledged. After a crash, unfinished ones are answered again under the same `candidate_set_id`.
"""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from sidestream.models.records import CandidateSet, SessionStart
from sidestream.streams.contracts.deadletters import dead_letter
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import BadRecord, LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.lane_protocol import LaneHost
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.progress import Work
from sidestream.streams.sessions.admission import Admission
from sidestream.streams.sessions.answerer import Answerer
from sidestream.streams.sessions.lane_wait import LaneWait
from sidestream.streams.sessions.prefix import OffsetPrefix
from sidestream.streams.sessions.settings import SessionSettings

# Sessions wait while the states of their partition are restored; this is how often the lane checks.
_READY_POLL_MS = 20
_MAX_DELAY_S = 3_600.0
# Session-starts begun in one iteration of the event loop: 0.1 ms each.
_TAKE_RECORDS = 64

Decode = Callable[[bytes | None, bytes | None, int], SessionStart]


class SessionLane(Service):
    """Answers the session-starts of the assigned partitions.

    Args:
        clients: Kafka client factory.
        source: `session-starts.v1`.
        candidates: `candidates.v1`.
        decode: Decodes one record's key, value and Kafka timestamp; raises `BadRecord`.
        answerer: Computes the candidate sets.
        host: Source of the group's committed offsets.
        is_ready: Whether the states of a partition are restored.
        settings: Limits.
        metrics: Counts and times.
        pacer: Pauses listens while session-starts are in flight; shared with the listen lane.
        lane_wait: Waits for listens, if enabled.
        placement: Recognises session-starts of other partitions; None takes all.
    """

    mundane_level = "debug"

    def __init__(
        self,
        clients: Clients,
        source: TopicSpec,
        candidates: TopicSpec,
        decode: Decode,
        answerer: Answerer,
        host: LaneHost,
        is_ready: Callable[[int], bool],
        settings: SessionSettings,
        metrics: Metrics,
        pacer: Pacer,
        lane_wait: LaneWait,
        placement: Placement | None = None,
    ) -> None:
        super().__init__()
        self.topic = source.name
        self._clients = clients
        self._candidates_topic = candidates.name
        self._decode = decode
        self._answerer = answerer
        self._host = host
        self._is_ready = is_ready
        self._settings = settings
        self._metrics = metrics
        self._pacer = pacer
        self._lane_wait = lane_wait
        self._placement = placement
        self._admission = Admission(settings, answerer.seconds)
        self._producer: AIOKafkaProducer | None = None
        self._prefixes: dict[int, OffsetPrefix] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._has_capacity = asyncio.Event()
        self._epoch = 0
        # Read positions of the partitions whose states are ready, and number of finished answers.
        self._positions: dict[int, int] = {}
        self._num_ended = 0

    async def on_start(self) -> None:
        """Start the producer; nothing is read before partitions are assigned."""
        await self._answerer.warm_up()
        producer = self._clients.async_producer(linger_ms=0)
        await producer.start()
        self._producer = producer

    async def on_stop(self) -> None:
        """Finish the answers in flight, within the time limit of a revocation."""
        await self.on_revoked(self._prefixes)
        self._answerer.close()
        if self._producer is not None:
            await self._producer.stop()

    async def on_assigned(self, partitions: Collection[int]) -> None:
        """Start reading partitions from their committed offsets.

        Args:
            partitions: All partitions that this worker now owns.
        """
        self._epoch += 1
        self._positions = {}
        self._prefixes = {partition: OffsetPrefix() for partition in partitions}
        if partitions:
            self.add_future(self._read(self._epoch, sorted(partitions)))

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Stop reading and wait, for a limited time, for the answers in flight.

        Args:
            partitions: Revoked partitions; rebalances are eager, so reading stops for all.
        """
        del partitions
        self._epoch += 1
        self._positions = {}
        if not self._answering:
            return
        _, late = await asyncio.wait(set(self._answering), timeout=self._settings.revoke_wait_ms / 1e3)
        for task in late:
            # Not committed: the next owner answers under the same id.
            task.cancel()

    def committable(self) -> Mapping[int, int]:
        """Return the end of the longest answered prefix, by partition."""
        return {
            partition: prefix.next_offset
            for partition, prefix in self._prefixes.items()
            if prefix.next_offset is not None
        }

    def unread(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Count the session-starts that are not fetched, by partition; `ends` are recent end offsets of the topic."""
        return {p: max(0, ends.get(p, 0) - position) for p, position in self._positions.items()}

    def work(self, ends: Mapping[int, int]) -> Work:
        """Return the session-starts that are not fetched or not answered; without those that wait for a restore.

        Args:
            ends: Recent end offsets of the topic, by partition.

        Returns:
            Pending session-starts and the progress.
        """
        unread = sum(self.unread(ends).values())
        return Work(unread + len(self._answering), (self._num_ended, tuple(self._positions.items())))

    async def _read(self, epoch: int, partitions: list[int]) -> None:
        positions = self._positions  # a revocation replaces the dict; a stale reader must not write to the new one
        consumer = self._clients.async_consumer()
        await consumer.start()
        try:
            waiting = await self._open(consumer, partitions)
            while epoch == self._epoch and not self.should_stop:
                waiting = self._resume(consumer, waiting)
                if (free := self._settings.max_waiting - len(self._answering)) <= 0:
                    self._has_capacity.clear()
                    await self._has_capacity.wait()
                    continue
                poll_ms = _READY_POLL_MS if waiting else self._settings.poll_ms
                batches = await consumer.getmany(timeout_ms=poll_ms, max_records=min(free, _TAKE_RECORDS))
                fetched_s = self._answerer.seconds()
                ends = await self._lane_wait.ends(consumer, [partition.partition for partition in batches])
                if epoch == self._epoch:
                    self._begin(batches, fetched_s, ends)
                    # Without records a position may still advance over transaction markers: read it at idle polls.
                    for partition in batches or (TopicPartition(self.topic, number) for number in partitions):
                        if partition not in waiting:
                            positions[partition.partition] = await consumer.position(partition)
        finally:
            await consumer.stop()

    async def _open(self, consumer: AIOKafkaConsumer, partitions: list[int]) -> set[TopicPartition]:
        """Seek the consumer to the committed offsets, paused until the states are ready."""
        by_number = {partition: TopicPartition(self.topic, partition) for partition in partitions}
        consumer.assign(list(by_number.values()))
        for partition, offset in (await self._host.committed(self.topic, partitions)).items():
            if offset is None:
                await consumer.seek_to_beginning(by_number[partition])
            else:
                consumer.seek(by_number[partition], offset)
        consumer.pause(*by_number.values())
        return set(by_number.values())

    def _resume(self, consumer: AIOKafkaConsumer, waiting: set[TopicPartition]) -> set[TopicPartition]:
        ready = {partition for partition in waiting if self._is_ready(partition.partition)}
        if ready:
            consumer.resume(*ready)
        return waiting - ready

    def _begin(self, batches: Mapping[TopicPartition, list[Any]], fetched_s: float, ends: Mapping[int, int]) -> None:
        for partition, records in batches.items():
            prefix = self._prefixes[partition.partition]
            for record in records:
                prefix.begin(record.offset)
                task = asyncio.create_task(self._handle(self._epoch, record, prefix, fetched_s, ends))
                self._answering.add(task)
                self._pacer.session_begins(_name(record))
                task.add_done_callback(partial(self._ended, _name(record)))
        self._metrics.sessions_in_flight.set(len(self._answering))

    async def _handle(
        self, epoch: int, record: Any, prefix: OffsetPrefix, fetched_s: float, ends: Mapping[int, int]
    ) -> None:
        try:
            start = self._decode(record.key, record.value, record.timestamp)
            if self._placement is not None:
                self._placement.check(record)
        except BadRecord as bad:
            self._metrics.dead_letters.labels(self.topic, bad.reason).inc()
            topic, key, value, headers = dead_letter(record, bad)
            await self._send(record, topic, key, value, headers)
        else:
            try:
                candidate_set = await self._answer(start, record, fetched_s, ends)
            except LaneError:
                if epoch != self._epoch:
                    return  # revoked in the meantime: the next owner answers
                raise
            await self._send(record, self._candidates_topic, record.key, candidate_set.to_json(), [])
            self._metrics.session_seconds.observe(max(0.0, self._answerer.seconds() - fetched_s))
            delay_s = (candidate_set.produced_at - record.timestamp) / 1e3
            # Records replayed with old timestamps say nothing about our delay.
            if 0.0 <= delay_s < _MAX_DELAY_S:
                self._metrics.session_delay_seconds.observe(delay_s)
        prefix.done(record.offset)

    async def _answer(
        self, start: SessionStart, record: Any, fetched_s: float, ends: Mapping[int, int]
    ) -> CandidateSet:
        partition: int = record.partition
        missing = await self._lane_wait.missing(_name(record), partition, ends.get(partition), fetched_s)
        if not await self._admission.enter(fetched_s):
            return await self._answerer.answer(start, partition, fetched_s, shed=True, listens_missing=missing)
        begun_s = self._answerer.seconds()
        try:
            return await self._answerer.answer(start, partition, fetched_s, listens_missing=missing)
        finally:
            self._admission.leave(self._answerer.seconds() - begun_s)

    async def _send(
        self, record: Any, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> None:
        if self._producer is None:
            msg = f"{self.topic}: records came before the producer was started; restart the worker"
            raise LaneError(msg)
        try:
            # The record's own partition: that of its key, or, of a dead letter, where it was.
            sent = await self._producer.send(topic, value, key, partition=record.partition, headers=headers)
            # From here on the reader waits for Kafka, not for us.
            self._pacer.session_ends(_name(record))
            await sent
        except KafkaError as exc:
            msg = (
                f"{topic}: the answer to {record.topic}/{record.partition}/{record.offset} was not acknowledged "
                f"({exc!r}); check the broker, then restart the worker, which answers it again"
            )
            raise LaneError(msg) from exc

    def _ended(self, session: Hashable, task: "asyncio.Task[None]") -> None:
        self._answering.discard(task)
        self._pacer.session_ends(session)
        self._num_ended += 1
        self._has_capacity.set()
        self._metrics.sessions_in_flight.set(len(self._answering))
        if not task.cancelled() and (error := task.exception()) is not None:
            self.add_future(self.crash(error))


def _name(record: Any) -> Hashable:
    return record.partition, record.offset
