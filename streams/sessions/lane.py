"""Session lane: its own consumer on the partitions that Faust assigned, with a bounded number of starts in flight.

Why not an agent: agents process one event at a time, which limits a worker to 100-150 sessions per second; listens and
sessions of one process would also share one fetcher, and sessions would wait behind listens.

Delivery: a session-start is committed once its candidates (or its dead letter) and those of all before it are
acknowledged, or once it is skipped for its age. After a crash those that are not committed are answered again under the
same `candidate_set_id`. If many waited for a worker, they are answered beside current ones, not before them
(`deferred`).

Kafka that does not answer interrupts reading (`source`) and sending (`sending`), which go on in the same process.
"""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import partial
from typing import Any

from mode import Service

from sidestream.models.records import CandidateSet, SessionStart
from sidestream.streams.contracts.deadletters import dead_letter
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import BadRecord, LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.partition_reader import PartitionReader
from sidestream.streams.runtime.garbage_collection import collect_and_freeze
from sidestream.streams.runtime.lane_protocol import LaneHost
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.progress import Work
from sidestream.streams.runtime.waiting import run_until
from sidestream.streams.sessions.admission import Admission
from sidestream.streams.sessions.age import MaxAge
from sidestream.streams.sessions.answerer import Answerer
from sidestream.streams.sessions.feed import Feed
from sidestream.streams.sessions.lane_wait import LaneWait
from sidestream.streams.sessions.prefix import OffsetPrefix
from sidestream.streams.sessions.sending import Answer, AnswerSender
from sidestream.streams.sessions.settings import SessionSettings
from sidestream.streams.sessions.source import READY_POLL_MS, SessionSource

_MAX_DELAY_S = 3_600.0

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
        wall_ms: UTC epoch milliseconds, for the age of session-starts.
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
        wall_ms: Callable[[], int],
        placement: Placement | None = None,
    ) -> None:
        super().__init__()
        self.topic, self._source_topic = source.name, source
        self._clients, self._host, self._is_ready = clients, host, is_ready
        self._candidates_topic = candidates.name
        self._decode, self._placement = decode, placement
        self._answerer, self._lane_wait, self._pacer = answerer, lane_wait, pacer
        self._settings, self._metrics = settings, metrics
        self._admission = Admission(settings, answerer.seconds)
        self._age = MaxAge(self.topic, settings.max_age_ms, wall_ms, metrics)
        self._has_capacity = asyncio.Event()
        self._sender = AnswerSender(clients, self._has_capacity.set)
        self._prefixes: dict[int, OffsetPrefix] = {}
        # Answers in flight, with their partitions.
        self._answering: dict[asyncio.Task[None], int] = {}
        # Each time that a partition is taken over, it gets a new term.
        self._terms: dict[int, object] = {}
        self._stop = asyncio.Event()
        self._is_assigned = False
        self._source: SessionSource | None = None
        # Finished answers; answers that wait until the states of their partition are restored again.
        self._num_ended = self._num_held = 0

    async def on_start(self) -> None:
        """Start the producer; nothing is read before partitions are assigned."""
        await self._answerer.warm_up()
        await self._sender.open()
        # The worker is not in the group yet: nobody waits for the event loop.
        collect_and_freeze()

    async def on_stop(self) -> None:
        """Finish the answers in flight, within the time limit of a revocation."""
        await self.on_revoked(self._prefixes)
        self._answerer.close()
        await self._sender.close()

    async def on_assigned(self, partitions: Collection[int]) -> None:
        """Start reading partitions from their committed offsets.

        Args:
            partitions: All partitions that this worker now owns.
        """
        if self._source is not None and partitions:
            self._change(self._source, set(partitions))
            return
        self._stop.set()
        self._stop, self._source, self._is_assigned = asyncio.Event(), None, True
        self._prefixes = {partition: OffsetPrefix() for partition in sorted(partitions)}
        self._terms = {partition: object() for partition in partitions}
        if partitions:
            reads = (self._clients, self._source_topic, self._prefixes, self._host)
            self._source = SessionSource(*reads, self._settings, self._age, self._metrics)
            feed = Feed(self._room, self._spare, self._is_blocked, partial(self._take, self._stop))
            self.add_future(run_until(self._stop, self._source.run(feed)))

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Stop reading and wait, for a limited time, for the answers in flight.

        Args:
            partitions: Revoked partitions; reading stops for all.
        """
        del partitions
        self._terms = {}
        self._stop.set()
        self._source, self._is_assigned = None, False
        await self._finish(set(self._answering))

    def _change(self, source: SessionSource, partitions: set[int]) -> None:
        """Read the partitions that are new, and no longer those that are gone; the others go on."""
        for partition in self._terms.keys() - partitions:
            del self._terms[partition], self._prefixes[partition]
        for partition in sorted(partitions - self._terms.keys()):
            self._terms[partition], self._prefixes[partition] = object(), OffsetPrefix()
        source.keep(partitions)
        leaving = {task for task, partition in self._answering.items() if partition not in partitions}
        if leaving:
            self.add_future(self._finish(leaving))

    async def _finish(self, answering: "set[asyncio.Task[None]]") -> None:
        if not answering:
            return
        _, late = await asyncio.wait(answering, timeout=self._settings.revoke_wait_ms / 1e3)
        for task in late:
            # Not committed: the next owner answers under the same id.
            task.cancel()

    def not_ready(self) -> list[str]:
        """Return why session-starts that are published now might not be answered."""
        if self._source is not None:
            return self._source.not_started()
        return [] if self._is_assigned else [f"{self.topic}: no partitions assigned yet"]

    def committable(self) -> Mapping[int, int]:
        """Return the end of the longest answered prefix, by partition."""
        return {p: prefix.next_offset for p, prefix in self._prefixes.items() if prefix.next_offset is not None}

    def held_tables(self) -> None:
        """Return None: the states are the listen lane's."""

    def unread(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Count the session-starts that are not fetched, by partition; `ends` are recent end offsets of the topic."""
        positions = {} if self._source is None else self._source.positions
        deferred = {partition: prefix.num_deferred for partition, prefix in self._prefixes.items()}
        return {p: max(0, ends.get(p, 0) - position) + deferred.get(p, 0) for p, position in positions.items()}

    def work(self, ends: Mapping[int, int]) -> Work:
        """Return the session-starts that are not fetched or not answered; without those that wait for a restore.

        Args:
            ends: Recent end offsets of the topic, by partition.

        Returns:
            Pending session-starts and the progress. Attempts to read or to send are progress: the lane waits for Kafka,
            and a restart would too.
        """
        waiting = sum(unread for partition, unread in self.unread(ends).items() if not self._is_blocked(partition))
        done = [self._num_ended, self._sender.num_failed]
        if self._source is not None:
            done += [self._source.num_openings, *self._source.positions.values()]
            done += [prefix.num_deferred for prefix in self._prefixes.values()]
        return Work(waiting + len(self._answering) - self._num_held, tuple(done))

    async def _room(self) -> int:
        """Wait until session-starts may be taken; those that wait for Kafka or for a restore do not count."""
        return await self._below(self._settings.max_waiting)

    async def _spare(self) -> int:
        """Wait until fewer session-starts are answered than may be at the same time; returns how many more may."""
        return await self._below(self._settings.max_in_flight)

    async def _below(self, limit: int) -> int:
        while (left := limit - len(self._answering) + self._num_idle) <= 0:
            self._has_capacity.clear()
            await self._has_capacity.wait()
        return left

    @property
    def _num_idle(self) -> int:
        return self._num_held + self._sender.unsent.total()

    def _is_blocked(self, partition: int) -> bool:
        """Whether more session-starts of a partition would only wait, for its states or for its candidates' broker."""
        return not self._is_ready(partition) or partition in self._sender.unsent

    async def _take(self, stop: asyncio.Event, reader: PartitionReader, batches: Mapping[int, list[Any]]) -> int:
        fetched_s, terms = self._answerer.seconds(), dict(self._terms)
        ends = await self._lane_wait.ends(reader, batches)
        if stop.is_set():  # the source is about to end, and its partitions may have been assigned anew
            return 0
        owned = {p: records for p, records in batches.items() if p in terms and self._terms.get(p) is terms[p]}
        return self._begin(owned, fetched_s, ends)

    def _begin(self, batches: Mapping[int, list[Any]], fetched_s: float, ends: Mapping[int, int]) -> int:
        num_begun = 0
        for partition, records in batches.items():
            prefix = self._prefixes[partition]
            for record in records:
                prefix.begin(record.offset)
                if self._age.is_stale(record.timestamp):
                    self._age.skipped(partition, 1, record.timestamp)
                    prefix.done(record.offset)
                    continue
                num_begun += 1
                term = self._terms[partition]
                task = asyncio.create_task(self._handle(term, record, prefix, fetched_s, ends))
                self._answering[task] = partition
                self._pacer.session_begins(_name(record))
                task.add_done_callback(partial(self._ended, _name(record)))
        self._metrics.sessions_in_flight.set(len(self._answering))
        return num_begun

    async def _handle(
        self, term: object, record: Any, prefix: OffsetPrefix, fetched_s: float, ends: Mapping[int, int]
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
                candidate_set = await self._answer(term, start, record, fetched_s, ends)
            except LaneError:
                if self._terms.get(record.partition) is not term:
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
        self, term: object, start: SessionStart, record: Any, fetched_s: float, ends: Mapping[int, int]
    ) -> CandidateSet:
        partition = record.partition
        missing = await self._lane_wait.missing(_name(record), partition, ends.get(partition), fetched_s)
        while True:
            try:
                return await self._answer_now(start, partition, fetched_s, missing)
            except LaneError:
                if self._terms.get(partition) is not term or self._is_ready(partition):
                    raise
            # The listen lane opens its partitions again after an interruption.
            self._num_held += 1
            self._has_capacity.set()
            try:
                while self._terms.get(partition) is term and not self._is_ready(partition):  # noqa: ASYNC110 - the listen lane's
                    await asyncio.sleep(READY_POLL_MS / 1e3)
            finally:
                self._num_held -= 1

    async def _answer_now(
        self, start: SessionStart, partition: int, fetched_s: float, missing: int | None
    ) -> CandidateSet:
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
        # Once it has left, the reader waits for Kafka, not for us.
        has_left = partial(self._pacer.session_ends, _name(record))
        await self._sender.send(record, Answer(topic, key, value, headers), has_left)

    def _ended(self, session: Hashable, task: "asyncio.Task[None]") -> None:
        self._answering.pop(task, None)
        self._pacer.session_ends(session)
        self._num_ended += 1
        self._has_capacity.set()
        self._metrics.sessions_in_flight.set(len(self._answering))
        if not task.cancelled() and (error := task.exception()) is not None:
            self.add_future(self.crash(error))


def _name(record: Any) -> Hashable:
    return record.partition, record.offset
