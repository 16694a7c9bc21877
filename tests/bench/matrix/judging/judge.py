"""Compares what workers left behind with the pure fold of the log: changelog, databases, dead letters, answers, items.

All keys are compared, and in one place: `Users` says what the log makes of them, and `is_reserved` leaves aside what
describes a database or a changelog and belongs to no user.

A database is judged at any time, also of a worker that was just killed: it must be what the changelog says up to the
offset that it claims to hold.
"""

import bisect
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from sidestream.models.records import ItemSids
from sidestream.streams.contracts.deadletters import OFFSET_HEADER, PARTITION_HEADER
from sidestream.streams.contracts.decode import decode_listen, decode_session_start, decode_user_erasure
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.clients import Clients
from sidestream.tokenizer.catalogue import StoredSid
from sidestream.tokenizer.sid import item_key
from tests.bench.matrix.judging.answers import AnswersJudge, Catalogues
from tests.bench.matrix.judging.counts import CountsJudge
from tests.bench.matrix.judging.tables import Table, Tail, is_reserved
from tests.bench.matrix.judging.users import Users

Place = tuple[str, int, int]


class Judge:
    """Everything that the topics of one cell say.

    Args:
        clients: The Kafka.
        topics: Of the cell.
    """

    def __init__(self, clients: Clients, topics: Topics) -> None:
        self.users = Users()
        self.counts = CountsJudge(topics.item_count_totals.partitions)
        self.answers = AnswersJudge(topics.listens.partitions)
        self.catalogues = Catalogues()
        self.changelog: dict[bytes, bytes] = {}
        self.bad: Counter[Place] = Counter()
        self.letters: Counter[Place] = Counter()
        self.num_listens = self.num_erasures = 0
        self._sids: dict[int, StoredSid] = {}
        # By partition and key: offsets, and the digest of the value at each.
        self._history: dict[int, dict[bytes, tuple[list[int], list[bytes | None]]]] = defaultdict(dict)
        self._last: dict[int, int] = defaultdict(lambda: -1)

        def tail(spec: Any) -> Tail:
            return Tail(clients, spec.name, spec.partitions)

        self._listens, self._changes = tail(topics.listens), tail(topics.user_state_changelog)
        self._candidates, self._items = tail(topics.candidates), tail(topics.item_sids)
        self._requests, self._starts = tail(topics.user_erasures), tail(topics.session_starts)
        self._heard: list[Any] = []
        self._catalog_items, self._wanted_items = tail(topics.catalog_items), set[str]()
        self._count_changes, self._changed_to = tail(topics.item_count_changes), dict[int, int]()
        self._marks, self._totals = tail(topics.item_counts), tail(topics.item_count_totals)
        self._dead = {
            source.name: tail(next(spec for spec in topics.dead_letters if spec.name == source.dead_letters))
            for source in (topics.listens, topics.user_erasures)
            if source.dead_letters is not None
        }

    async def read_catalogue(self) -> Collection[str]:
        """Read the items; gives those that are there. An item that listens name must keep its content."""
        records = await self._items.read()
        self.catalogues.add(records)
        for record in records:
            if record.value is not None:
                sids = ItemSids.from_json(record.value)
                ((version, item),) = sids.versions.items()
                self._sids[item_key(sids.item_id)] = StoredSid(version, item.sid)
        return self.catalogues.item_ids()

    async def read_wanted_items(self) -> Collection[str]:
        """Read what the catalogue must hold: items whose last record is not a removal."""
        for record in await self._catalog_items.read():
            if record.value is None:
                self._wanted_items.discard(record.key.decode())
            else:
                self._wanted_items.add(record.key.decode())
        return self._wanted_items

    async def read_starts(self) -> Collection[str]:
        """Read which session-starts there are."""
        for record in await self._starts.read():
            start = decode_session_start(record.key, record.value, record.timestamp)
            self.answers.starts[start.session_id] = start
        return self.answers.starts.keys()

    async def read_answers(self) -> Collection[str]:
        """Read which session-starts were answered so far."""
        self.answers.add(await self._candidates.read())
        return self.answers.answered.keys()

    def wrong_answers(self) -> list[str]:
        """Compare the answers read since the last time, once the log was read."""
        return self.answers.judge(self.users, self.catalogues, self._sids.get)

    def lose_listens(self, begins: Mapping[int, int]) -> None:
        """Leave out listens that were deleted before anybody folded them, up to these offsets by partition."""
        self._listens.skip(begins)

    async def read_changelog(self, reach: Mapping[int, int] | None = None, *, whole: bool = False) -> None:
        """Read what was committed to the changelog since the last time; the arguments are those of `Tail.read`."""
        for record in await self._changes.read(reach, whole=whole):
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
        for record in await self._count_changes.read(whole=True):
            self._changed_to[record.partition] = record.offset + 1
        return self._changed_to

    async def read_totals(self) -> None:
        """Read the totals, once all changes are added up."""
        self.counts.see_totals(await self._totals.read(whole=True))

    async def fetch_log(self) -> None:
        """Read the listens that are there, for the next comparison."""
        self._heard += await self._listens.read()

    async def read_log(self) -> None:
        """Read listens, erasures and dead letters, and fold; all of them are in the changelog, which is read first."""
        self.users.begin()
        listens: dict[bytes, list[Any]] = {}
        await self.fetch_log()
        heard, self._heard = self._heard, []
        for record, listen in self._decoded(heard, decode_listen):
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
            for record in await dead.read(whole=True):
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
