"""In-memory cluster with everything that makes an end hard to detect: compaction gaps, markers, open transactions.

`AsyncConsumer` and `BlockingConsumer` read it as aiokafka and kafka-python do: markers and aborted records move the
position unseen, and only once a fetch has reached them; positions outside the log are refused.
"""

from collections import namedtuple
from dataclasses import dataclass, field

import aiokafka.errors
import kafka.errors
import kafka.structs

from sidestream.streams.kafka.outages import Outages

Record = namedtuple("Record", "topic partition offset timestamp key value headers")
COMMITTED, ABORTED, OPEN, MARKER = "committed", "aborted", "open", "marker"


class Seconds:
    """Monotonic clock that advances only by waiting."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@dataclass
class Log:
    """One partition: kind of each existing offset; the others are gaps."""

    kinds: dict[int, str] = field(default_factory=dict)
    values: dict[int, bytes | None] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    begin: int = 0
    next: int = 0

    def append(self, kind, value=b"v", at=0):
        self.kinds[self.next], self.values[self.next], self.times[self.next] = kind, value, at
        self.next += 1
        return self.next - 1

    def compact(self, offset):
        """Remove a record; the last offset of a log is never compacted."""
        assert offset < self.next - 1
        self.kinds.pop(offset, None)

    def end(self, is_committed):
        return min([o for o, kind in self.kinds.items() if kind == OPEN and is_committed], default=self.next)

    def visible(self, is_committed):
        """Offsets that a reader gets if it reads to the end now."""
        shown = (COMMITTED,) if is_committed else (COMMITTED, ABORTED, OPEN)
        end = self.end(is_committed)
        return [o for o, kind in sorted(self.kinds.items()) if self.begin <= o < end and kind in shown]


class Cluster:
    """Topics in memory; also `Clients` for a reader, and its clock.

    Attributes:
        fetch_offsets: Log offsets that one poll passes over at most, in each partition.
        before_poll: Called with the number of each poll, to change the world in between.
        is_silent: Polls bring nothing, and questions are not answered.
        failures: Raised by the next polls, after they have passed over what they would have handed out.
        polls: How many there were.
        consumers: All that were made.
    """

    bootstrap = "memory:0"
    is_embedded = False

    def __init__(self, **topics):
        self.topics = {name: [Log() for _ in range(count)] for name, count in topics.items()}
        self.seconds = Seconds()
        self.outages = Outages(self.seconds)
        self.fetch_offsets = 3
        self.before_poll = lambda number: None
        self.is_silent = False
        self.failures = []
        self.polls = 0
        self.consumers = []

    def log(self, topic="t", partition=0):
        return self.topics[topic][partition]

    def fill(self, count, topic="t", partition=0):
        return [self.log(topic, partition).append(COMMITTED, b"%d" % number) for number in range(count)]

    def async_consumer(self, *, auto_offset_reset, read_committed=True):
        assert auto_offset_reset == "none", "the library's own reset would hide what became of a topic"
        return AsyncConsumer(self, read_committed)

    def consumer(self, *, auto_offset_reset, read_committed=True):
        assert auto_offset_reset == "none"
        return BlockingConsumer(self, read_committed)


class Consumer:
    """Common part of both facades."""

    def __init__(self, cluster, is_committed):
        self.cluster = cluster
        self.is_committed = is_committed
        self.is_closed = False
        self.positions = {}
        cluster.consumers.append(self)

    def _assign(self, places):
        self.positions = dict.fromkeys(places)

    def _ends(self, places):
        self._require_answer()
        return {place: self.cluster.topics[place.topic][place.partition].end(self.is_committed) for place in places}

    def _begins(self, places):
        self._require_answer()
        return {place: self.cluster.topics[place.topic][place.partition].begin for place in places}

    def _poll(self, timeout_ms, max_records):
        cluster = self.cluster
        cluster.polls += 1
        assert cluster.polls < 10_000, "reads for ever"
        cluster.before_poll(cluster.polls)
        assert None not in self.positions.values(), "a partition without an explicit position"
        fetched, left = {}, max_records or 500
        for place, position in self.positions.items():
            if cluster.is_silent or not left:
                continue
            log = cluster.topics[place.topic][place.partition]
            if not log.begin <= position <= log.next:
                raise self.errors.OffsetOutOfRangeError({place: position})
            upto = min(position + cluster.fetch_offsets, log.end(self.is_committed))
            shown = [offset for offset in log.visible(self.is_committed) if position <= offset < upto]
            if len(shown) > left:
                upto, shown = shown[left], shown[:left]
            self.positions[place] = max(position, upto)
            if records := [Record(*place, offset, 0, b"k", log.values[offset], ()) for offset in shown]:
                fetched[place] = records
                left -= len(records)
        if cluster.failures:
            raise cluster.failures.pop(0)
        if not fetched:
            cluster.seconds.now_s += timeout_ms / 1e3
        return fetched

    def _require_answer(self):
        if self.cluster.is_silent:
            self.cluster.seconds.now_s += 1.0
            raise self.errors.KafkaTimeoutError("no answer")


class AsyncConsumer(Consumer):
    errors = aiokafka.errors

    async def start(self): ...

    async def stop(self):
        self.is_closed = True

    async def topics(self):
        self._require_answer()
        self.cluster.seconds.now_s += 0.1
        return set(self.cluster.topics)

    def partitions_for_topic(self, topic):
        return set(range(len(self.cluster.topics[topic])))

    def assign(self, places):
        assert all(isinstance(place, aiokafka.TopicPartition) for place in places)
        self._assign(places)

    def seek(self, place, offset):
        assert place in self.positions
        self.positions[place] = offset

    async def position(self, place):
        return self.positions[place]

    async def beginning_offsets(self, places):
        return self._begins(places)

    async def end_offsets(self, places):
        return self._ends(places)

    async def getmany(self, *, timeout_ms, max_records=None):
        return self._poll(timeout_ms, max_records)


class BlockingConsumer(Consumer):
    errors = kafka.errors

    def close(self):
        self.is_closed = True

    def partitions_for_topic(self, topic):
        self._require_answer()
        return set(range(len(self.cluster.topics.get(topic, ()))))

    def assign(self, places):
        assert all(isinstance(place, kafka.TopicPartition) for place in places)
        self._assign(places)

    def seek(self, place, offset):
        assert place in self.positions
        self.positions[place] = offset

    def position(self, place):
        return self.positions[place]

    def beginning_offsets(self, places):
        return self._begins(places)

    def end_offsets(self, places):
        return self._ends(places)

    def offsets_for_times(self, times):
        self._require_answer()
        return {place: self._first_since(place, at) for place, at in times.items()}

    def _first_since(self, place, at):
        log = self.cluster.topics[place.topic][place.partition]
        offset = next((o for o, kind in sorted(log.kinds.items()) if o >= log.begin and log.times[o] >= at), None)
        return None if offset is None else kafka.structs.OffsetAndTimestamp(offset, log.times[offset], None)

    def poll(self, *, timeout_ms, max_records=None):
        return self._poll(timeout_ms, max_records)
