"""Compares what workers left behind with the pure fold of the log: changelog, local databases, dead letters, answers.

All keys are compared, and in one place: `Users` says what the log makes of them, and `is_reserved` leaves aside what
describes a database or a changelog and belongs to no user.

A database is judged at any time, also of a worker that was just killed: it must be what the changelog says up to the
offset that it claims to hold.
"""

import bisect
import hashlib
import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import TopicPartition
from rocksdict import AccessType, Options, Rdict

from sidestream.models.records import ItemSids
from sidestream.streams.contracts.deadletters import OFFSET_HEADER, PARTITION_HEADER
from sidestream.streams.contracts.decode import decode_listen, decode_user_erasure
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.restore import origin
from sidestream.streams.listens.table.meta import META_KEY
from sidestream.tokenizer.catalogue import StoredSid
from sidestream.tokenizer.sid import item_key
from tests.bench.matrix.counts import CountsJudge
from tests.bench.matrix.users import Users

# Version of the layout, changelog offset, next source offset: the begin of what a database says of itself.
_META = struct.Struct("<Bqq")
Place = tuple[str, int, int]


class _Answer(msgspec.Struct):
    session_id: str


_decode_answer = msgspec.json.Decoder(_Answer).decode


def is_reserved(key: bytes) -> bool:
    """Tell whether a key describes its database or changelog, and no user."""
    return key == META_KEY or origin.is_reserved(key)


@dataclass
class Table:
    """What a database of one partition holds; offset -1 for nothing."""

    partition: int
    changelog_offset: int
    entries: dict[bytes, bytes]


def read_tables(folder: Path) -> Iterator[Table]:
    """Read the databases of a worker that has ended, without changing them."""
    for path in sorted(folder.rglob("*.db")):
        if not (path / "CURRENT").exists():  # killed before RocksDB had made it: the next worker does
            yield Table(int(path.stem), -1, {})
            continue
        database = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only())
        try:
            entries = dict(database.items())
        finally:
            database.close()
        meta = entries.get(META_KEY)
        offset = _META.unpack_from(meta)[1] if meta is not None else -1
        yield Table(int(path.stem), offset, {k: v for k, v in entries.items() if not is_reserved(k)})


class Tail:
    """The records of a topic, each given once, in the order of their partition.

    Args:
        clients: The Kafka.
        topic: Which.
        partitions: How many it has.
    """

    def __init__(self, clients: Clients, topic: str, partitions: int) -> None:
        self._clients = clients
        self._positions = {TopicPartition(topic, number): 0 for number in range(partitions)}

    async def read(self) -> list[Any]:
        """Read what was committed since the last time."""
        consumer = self._clients.async_consumer()
        await consumer.start()
        try:
            consumer.assign(list(self._positions))
            ends = await consumer.end_offsets(list(self._positions))
            for tp, position in self._positions.items():
                consumer.seek(tp, position)
            records: list[Any] = []
            while any(self._positions[tp] < end for tp, end in ends.items()):
                for fetched in (await consumer.getmany(timeout_ms=100)).values():
                    records.extend(fetched)
                for tp in self._positions:
                    self._positions[tp] = await consumer.position(tp)
            return records
        finally:
            await consumer.stop()


class Judge:
    """Everything that the topics of one cell say.

    Args:
        clients: The Kafka.
        topics: Of the cell.
    """

    def __init__(self, clients: Clients, topics: Topics) -> None:
        self.users = Users()
        self.counts = CountsJudge(topics.item_count_totals.partitions)
        self.changelog: dict[bytes, bytes] = {}
        self.bad: Counter[Place] = Counter()
        self.letters: Counter[Place] = Counter()
        self.answers: Counter[str] = Counter()
        self.num_listens = self.num_erasures = 0
        self._sids: dict[int, StoredSid] = {}
        # By partition and key: offsets, and the digest of the value at each.
        self._history: dict[int, dict[bytes, tuple[list[int], list[bytes | None]]]] = defaultdict(dict)
        self._last: dict[int, int] = defaultdict(lambda: -1)

        def tail(spec: Any) -> Tail:
            return Tail(clients, spec.name, spec.partitions)

        self._listens, self._changes = tail(topics.listens), tail(topics.user_state_changelog)
        self._candidates, self._items = tail(topics.candidates), tail(topics.item_sids)
        self._requests = tail(topics.user_erasures)
        self._count_changes, self._changed_to = tail(topics.item_count_changes), dict[int, int]()
        self._marks, self._totals = tail(topics.item_counts), tail(topics.item_count_totals)
        self._dead = {
            source.name: tail(next(spec for spec in topics.dead_letters if spec.name == source.dead_letters))
            for source in (topics.listens, topics.user_erasures)
            if source.dead_letters is not None
        }

    async def read_catalogue(self) -> int:
        """Read the items; the catalogue must not change while listens are folded."""
        for record in await self._items.read():
            sids = ItemSids.from_json(record.value)
            ((version, item),) = sids.versions.items()
            self._sids[item_key(sids.item_id)] = StoredSid(version, item.sid)
        return len(self._sids)

    async def read_answers(self) -> Collection[str]:
        """Read which session-starts were answered so far."""
        self.answers.update(_decode_answer(record.value).session_id for record in await self._candidates.read())
        return self.answers

    async def read_changelog(self) -> None:
        """Read what was committed to the changelog since the last time."""
        for record in await self._changes.read():
            if is_reserved(record.key):
                continue
            self.users.see(record.key, record.value)
            offsets, digests = self._history[record.partition].setdefault(record.key, ([], []))
            offsets.append(record.offset)
            digests.append(_digest(record.value))
            self._last[record.partition] = record.offset
            if record.value is None:
                self.changelog.pop(record.key, None)
            else:
                self.changelog[record.key] = record.value

    async def read_counts(self, ends: Mapping[int, int]) -> bool:
        """Read the marks; tells whether all listens up to these ends are published."""
        self.counts.see_marks(await self._marks.read())
        return self.counts.is_whole(ends)

    async def read_changes(self) -> Mapping[int, int]:
        """Read the published changes; returns the offset after the last one, by partition."""
        for record in await self._count_changes.read():
            self._changed_to[record.partition] = record.offset + 1
        return self._changed_to

    async def read_totals(self) -> None:
        """Read the totals, once all changes are added up."""
        self.counts.see_totals(await self._totals.read())

    async def read_log(self) -> None:
        """Read listens, erasures and dead letters, and fold; all of them are in the changelog, which is read first."""
        listens: dict[bytes, list[Any]] = {}
        for record, listen in self._decoded(await self._listens.read(), decode_listen):
            self.num_listens += 1
            if listen is not None:
                listens.setdefault(record.key, []).append((record.offset, listen))
                self.counts.hear(listen)
        erased: dict[bytes, list[int]] = {}
        for record, erasure in self._decoded(await self._requests.read(), decode_user_erasure):
            self.num_erasures += 1
            if erasure is not None:
                erased.setdefault(record.key, []).append(erasure.at)
        for user in listens.keys() | erased.keys():
            self.users.fold(user, listens.get(user, ()), erased.get(user, ()), self._sids.get)
        for topic, dead in self._dead.items():
            for record in await dead.read():
                headers = dict(record.headers)
                self.letters[topic, int(headers[PARTITION_HEADER]), int(headers[OFFSET_HEADER])] += 1

    def _decoded(self, records: Iterable[Any], decode: Callable[[Any, Any, int], Any]) -> Iterator[tuple[Any, Any]]:
        """Give records with what they say; none for those that cannot be read, which are noted."""
        for record in records:
            said = None
            try:
                said = decode(record.key, record.value, record.timestamp)
            except BadRecord:
                self.bad[record.topic, record.partition, record.offset] += 1
            yield record, said

    def expected(self) -> Mapping[bytes, bytes]:
        """Say what every key must hold: the pure fold of the log read so far."""
        return self.users.entries

    def wrong_in_changelog(self) -> list[str]:
        """Name the keys at which the changelog's last values differ from the fold."""
        return _differences("changelog", self.changelog, self.expected())

    def wrong_in_table(self, where: str, table: Table) -> list[str]:
        """Name the keys at which a database differs from the changelog up to the offset that it claims."""
        claimed: dict[bytes, bytes] = {}
        for key, (offsets, digests) in self._history[table.partition].items():
            place = bisect.bisect_right(offsets, table.changelog_offset)
            digest = digests[place - 1] if place else None
            if digest is not None:
                claimed[key] = digest
        held = {key: _digest(value) for key, value in table.entries.items()}
        return _differences(f"{where}/{table.partition} at {table.changelog_offset}", held, claimed)

    def is_current(self, table: Table) -> bool:
        """Tell whether a database claims to hold all of the changelog."""
        return table.changelog_offset >= self._last[table.partition]

    def wrong_dead_letters(self, may_repeat: bool) -> int:
        """Count records that are no dead letter and should be, or the other way round, or are there twice."""
        letters = Counter(dict.fromkeys(self.letters, 1)) if may_repeat else self.letters
        return sum(((self.bad - letters) + (letters - self.bad)).values())


def _digest(value: bytes | None) -> bytes | None:
    return None if value is None else hashlib.blake2b(value, digest_size=8).digest()


def _differences(where: str, got: Mapping[bytes, Any], wanted: Mapping[bytes, Any]) -> list[str]:
    keys = [key for key in got.keys() | wanted.keys() if got.get(key) != wanted.get(key)]
    return [f"{where}: {key!r}" for key in sorted(keys)]
