"""Holds what a worker made of a topic against what was sent: folded, dead letter with place and reason, or hidden.

The topic is read with librdkafka, once with all records and once with the committed ones alone: neither a client of the
worker nor its reading says where a record is and whether it counts.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from sidestream.models.history import block_key, fold
from sidestream.streams.contracts.deadletters import OFFSET_HEADER, PARTITION_HEADER, REASON_HEADER
from sidestream.streams.contracts.decode import Reason, decode_listen
from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.settings import PartitionerName
from sidestream.streams.errors import BadRecord
from sidestream.streams.listens.restore.origin import is_reserved
from sidestream.streams.listens.settings import LaneSettings
from tests.bench.foreign.records import Record, Sent

READ_TIMEOUT_S = 60.0
MAX_NAMED = 40
# Where a name is not UTF-8, confluent-kafka 2.16 returns a list with a null pointer in it and leaves the error pending.
# Python makes that a SystemError, but not for `message.headers()` itself once the call is specialized (3.11 and newer):
# the list is then read, and the process ends with SIGSEGV.
_headers_of: Callable[[Message], list[tuple[str, bytes | None]] | None] = methodcaller("headers")
HISTORY_EVENTS = LaneSettings().history_events


class Place(NamedTuple):
    """Where a record is."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Found:
    """A record as it was read.

    Attributes:
        key: Its key.
        value: Its value.
        stamp_ms: Its Kafka timestamp.
        is_renamed: Whether the broker, which compressed it again, replaced bytes of a header's name that are not UTF-8.
    """

    key: bytes | None
    value: bytes | None
    stamp_ms: int
    is_renamed: bool = False


Log = Mapping[Place, Found]
Letters = Mapping[Place, Sequence[tuple[bytes | None, bytes | None, str]]]
"""Key, value and reason of the dead letters of each place."""


def read_log(bootstrap: str, topic: str, partitions: int, committed: bool) -> dict[Place, Found]:
    """Read a topic to its end.

    Args:
        bootstrap: Address of the broker.
        topic: Topic name.
        partitions: How many it has.
        committed: Whether records of aborted transactions are left out, and all behind the first open one.

    Raises:
        TimeoutError: It does not come to the end.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "judge",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
        }
    )
    log: dict[Place, Found] = {}
    unread = set(range(partitions))
    deadline_s = time.monotonic() + READ_TIMEOUT_S
    try:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in unread])
        while unread:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{topic}: not read to the end within {READ_TIMEOUT_S} s")
            message = consumer.poll(1.0)
            if message is None:
                continue
            partition, offset, error = message.partition(), message.offset(), message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(partition)
                continue
            if partition is None or offset is None:
                raise RuntimeError(f"{topic}: expected records with their place, got {partition}/{offset}")
            found = Found(message.key(), message.value(), message.timestamp()[1], _is_renamed(message))
            log[Place(partition, offset)] = found
    finally:
        consumer.close()
    return log


def _is_renamed(message: Message) -> bool:
    try:
        headers = _headers_of(message)
    except SystemError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        return False
    return any("\N{REPLACEMENT CHARACTER}" in name for name, _ in headers or ())


def letters_of(records: Sequence[Any]) -> dict[Place, list[tuple[bytes | None, bytes | None, str]]]:
    """Sort dead letters by the place of their records."""
    letters: dict[Place, list[tuple[bytes | None, bytes | None, str]]] = defaultdict(list)
    for record in records:
        headers = dict(record.headers)
        place = Place(int(headers[PARTITION_HEADER]), int(headers[OFFSET_HEADER]))
        letters[place].append((record.key, record.value, headers[REASON_HEADER].decode()))
    return letters


@dataclass
class Verdict:
    """What became of the records of a run.

    Attributes:
        due: Records that had to be folded.
        folded: Of these, those whose user's state and blocks are the pure fold.
        counts: Records by producer and end.
        unexplained: Records and effects for which there is no reason.
        named: The first of them.
    """

    due: int = 0
    folded: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unexplained: int = 0
    named: list[str] = field(default_factory=list)

    def wonder(self, what: str) -> None:
        """Note what has no explanation."""
        self.unexplained += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(what)


@dataclass
class Judge:
    """What is known when a worker is done.

    Attributes:
        partitioner: The worker's.
        partitions: Of the topic.
        log: All records of the topic.
        committed: Those that readers may see.
        letters: Dead letters by place.
        changelog: Last values.
    """

    partitioner: PartitionerName
    partitions: int
    log: Log
    committed: Log
    letters: Letters
    changelog: Mapping[bytes, bytes]

    def judge(self, sent: Sequence[Sent]) -> Verdict:
        """Say what became of every record."""
        verdict = Verdict()
        unseen = {(record.key, record.value): (one, record) for one in sent for record in one.records}
        due: dict[bytes, list[tuple[Place, Found, str]]] = defaultdict(list)
        for place, found in sorted(self.log.items()):
            match = unseen.pop((found.key, found.value), None)
            if match is None:
                verdict.wonder(f"{place}: nobody sent {found.key!r}, or it is there twice")
                continue
            end = self._expected(place, found, *match, verdict)
            self._compare_letters(place, found, end, verdict)
            if (place in self.committed) == (end == "hidden"):
                verdict.wonder(f"{place}: {found.key!r} is {end}, and {'' if end == 'hidden' else 'not '}committed")
            verdict.counts[match[0].producer][end] += 1
            if end == "folded":
                due[found.key or b""].append((place, found, match[0].producer))
        for one, record in unseen.values():
            verdict.wonder(f"{one.producer}: {record.key!r} is not on the topic")
        for place in self.letters.keys() - self.log.keys():
            verdict.wonder(f"{place}: a dead letter of no record")
        self._compare_states(due, verdict)
        return verdict

    def _expected(self, place: Place, found: Found, sent: Sent, record: Record, verdict: Verdict) -> str:
        """Say how a record has to end: folded, hidden, or the reason of its dead letter."""
        if sent.partitioner is not None and found.key:
            chosen = partition_of(found.key, self.partitions, sent.partitioner)
            if chosen != place.partition:
                verdict.wonder(f"{place}: {sent.producer} put {found.key!r} elsewhere than its {sent.partitioner}")
        if record.is_hidden:
            return "hidden"
        reason = record.reason
        if reason is Reason.UNREADABLE and found.is_renamed:
            reason = Reason.NULL_VALUE if found.value is None else None
        if reason is not None:
            return str(reason)
        home = partition_of(found.key or b"", self.partitions, self.partitioner)
        return "folded" if home == place.partition else str(Reason.WRONG_PARTITION)

    def _compare_letters(self, place: Place, found: Found, end: str, verdict: Verdict) -> None:
        letters = list(self.letters.get(place, ()))
        expected = [] if end in ("folded", "hidden") else [(found.key, found.value, end)]
        if letters != expected:
            got = [reason for _, _, reason in letters]
            verdict.wonder(f"{place}: expected {found.key!r} to be {end}, got dead letters {got}")

    def _compare_states(self, due: Mapping[bytes, Sequence[tuple[Place, Found, str]]], verdict: Verdict) -> None:
        expected: dict[bytes, bytes] = {}
        for user, records in due.items():
            verdict.due += len(records)
            try:
                rows = [(place.offset, decode_listen(user, one.value, one.stamp_ms)) for place, one, _ in records]
            except BadRecord as error:
                verdict.wonder(f"{user!r}: a listen that must be folded is refused: {error}")
                continue
            result = fold(None, rows, lambda _: None, HISTORY_EVENTS)
            values = {user: result.state, **{block_key(user, slot): block for slot, block in result.blocks.items()}}
            expected |= values
            if all(self.changelog.get(key) == value for key, value in values.items()):
                verdict.folded += len(records)
            else:
                verdict.wonder(f"{user!r} of {records[0][2]}: the state is not the fold of {len(records)} listens")
        for key in self.changelog.keys() - expected.keys():
            if not is_reserved(key):
                verdict.wonder(f"changelog: {key!r} is of nobody whose listens were to be folded")
