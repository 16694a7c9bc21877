"""Holds every answer to the pure recommender: key, partition, user, id, and content for the state that it names.

An answer names the last listen of the state that it was made of, and the catalogue's offsets. Both are made again from
the log, and the recommender is asked. What it orders by popularity, which an answer does not name, is judged as a set:
allowed items, none twice, as many as there are.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from sidestream.models.history import SidLookup
from sidestream.models.recommend import Recommender
from sidestream.models.records import CandidateSet, SessionStart
from sidestream.models.records.candidates import candidate_set_id
from sidestream.streams.contracts import partitioner
from sidestream.tokenizer.catalogue import Catalogue, CatalogueSnapshot
from tests.bench.matrix.judging.users import Users
from tests.bench.matrix.recommending import MODEL_VERSION, empty_catalogue, pure_recommender, update_decoder

# Of the moment and of the worker; the offsets are what the catalogue is made of.
NOT_COMPARED = frozenset({"produced_at", "timings_ms", "catalogue_version", "catalogue_offsets", "candidates"})
# Of a busy worker; the recommender itself never gives them.
OF_THE_WORKER = frozenset({"deadline", "overload"})
MAX_CANDIDATES = 200

Offsets = tuple[int, ...]


class Catalogues:
    """Snapshots of the catalogue at any offsets of `item-sids.v1`."""

    def __init__(self) -> None:
        self._records: dict[int, list[Any]] = defaultdict(list)
        self._decode = update_decoder().decode
        self._catalogue: Catalogue = empty_catalogue()
        self._at: Offsets = ()
        self._snapshot: CatalogueSnapshot | None = None

    def add(self, records: Iterable[Any]) -> None:
        """Take what was read of the topic since the last time."""
        for record in records:
            self._records[record.partition].append(record)

    def covers(self, offsets: Offsets) -> bool:
        """Tell whether all records before these offsets were read."""
        return all(not before or self._end(partition) >= before for partition, before in enumerate(offsets))

    def at(self, offsets: Offsets) -> CatalogueSnapshot:
        """Give the snapshot of all records below these offsets; quick for offsets that grow."""
        if self._snapshot is None or offsets != self._at:
            begins: Sequence[int] = self._at
            if not begins or any(new < old for new, old in zip(offsets, begins, strict=True)):
                self._catalogue, begins = empty_catalogue(), [0] * len(offsets)
            for partition, (begin, end) in enumerate(zip(begins, offsets, strict=True)):
                fresh = [record for record in self._records[partition] if begin <= record.offset < end]
                self._catalogue.apply([self._decode(record.key, record.value) for record in fresh])
            self._snapshot, self._at = self._catalogue.snapshot(source_offsets=offsets), offsets
        return self._snapshot

    def item_ids(self) -> set[str]:
        """Give the items whose last record is not a removal."""
        last = {record.key: record.value for records in self._records.values() for record in records}
        return {key.decode() for key, value in last.items() if value is not None}

    def _end(self, partition: int) -> int:
        records = self._records[partition]
        return records[-1].offset + 1 if records else 0


class AnswersJudge:
    """The answers of one cell.

    Args:
        partitions: Of the topics keyed by user.

    Attributes:
        starts: All session-starts by id, with the key that each was sent with.
        answered: How often each was answered.
        compared: Answers whose whole list was compared.
        of_popularity: Answers whose order was not, because it is that of popularity.
    """

    def __init__(self, partitions: int) -> None:
        self.starts: dict[str, SessionStart] = {}
        self.answered: dict[str, int] = defaultdict(int)
        self.compared = self.of_popularity = 0
        self._partitions = partitions
        self._recommender: Recommender = pure_recommender()
        self._waiting: list[tuple[Any, CandidateSet]] = []
        self._unreadable: list[str] = []

    def add(self, records: Iterable[Any]) -> None:
        """Take the answers that were read since the last time."""
        for record in records:
            try:
                answer = CandidateSet.from_json(record.value)
            except (ValidationError, ValueError) as exc:
                self._unreadable.append(f"answer {record.partition}/{record.offset}: {exc}")
                continue
            self.answered[answer.session_id] += 1
            self._waiting.append((record, answer))

    def judge(self, users: Users, catalogues: Catalogues, lookup: SidLookup) -> list[str]:
        """Compare the answers that came since the last time, once all listens are folded."""
        wrong, self._unreadable = self._unreadable, []
        waiting, self._waiting = self._waiting, []
        for record, answer in sorted(waiting, key=lambda one: one[1].catalogue_offsets or ()):
            if problem := self._problem(record, answer, users, catalogues, lookup):
                wrong.append(f"answer {answer.session_id} of {answer.user_id}: {problem}")
        return wrong

    def _problem(
        self, record: Any, answer: CandidateSet, users: Users, catalogues: Catalogues, lookup: SidLookup
    ) -> str | None:
        start = self.starts.get(answer.session_id)
        if start is None:
            return "nobody asked"
        key = start.user_id.encode()
        named = {
            "key": (record.key, key),
            "partition": (record.partition, partitioner.partition_of(key, self._partitions)),
            "user": (answer.user_id, start.user_id),
            "id": (answer.candidate_set_id, candidate_set_id(start.user_id, start.session_id, start.page)),
            "model": (answer.model_version, MODEL_VERSION),
        }
        for what, (got, wanted) in named.items():
            if got != wanted:
                return f"{what}: expected {wanted!r}, got {got!r}"
        offsets = answer.catalogue_offsets
        if offsets is None or answer.judged_at is None or not catalogues.covers(offsets):
            return f"expected offsets of the catalogue and a time, got {offsets} and {answer.judged_at}"
        snapshot = catalogues.at(offsets)
        problem: str | None = f"no state with the watermark {answer.state_watermark}"
        for state in users.turns_of(key).states(answer.state_watermark, lookup):
            problem = self._difference(start, answer, state, snapshot)
            if problem is None:
                return None
        return problem

    def _difference(
        self, start: SessionStart, answer: CandidateSet, state: bytes | None, snapshot: CatalogueSnapshot
    ) -> str | None:
        """Compare an answer with that of the pure recommender for one state."""
        at, reason = answer.judged_at or 0, None if answer.fallback is None else answer.fallback.reason
        if reason in OF_THE_WORKER:
            expected = self._recommender.fall_back(start, state, snapshot, at, reason)
        else:
            expected = self._recommender.recommend(start, state, snapshot, at)
        got, wanted = (one.model_dump(exclude=set(NOT_COMPARED)) for one in (answer, expected))
        if differing := {name: (got[name], wanted[name]) for name in wanted if got[name] != wanted[name]}:
            return f"(got, expected): {differing}"
        if expected.fallback is None:
            self.compared += 1
            return None if answer.candidates == expected.candidates else _first_difference(answer, expected)
        self.of_popularity += 1
        everything = start.model_copy(update={"num_candidates": MAX_CANDIDATES * 100})
        allowed = self._recommender.fall_back(everything, state, snapshot, at, expected.fallback.reason)
        return _popular_difference(
            answer, expected, {one.item_id: (one.sid, one.familiar) for one in allowed.candidates}
        )


def _first_difference(answer: CandidateSet, expected: CandidateSet) -> str:
    for got, wanted in zip(answer.candidates, expected.candidates, strict=False):
        if got != wanted:
            return f"candidate {wanted.rank}: expected {wanted}, got {got}"
    return f"expected {len(expected.candidates)} candidates, got {len(answer.candidates)}"


def _popular_difference(
    answer: CandidateSet, expected: CandidateSet, allowed: Mapping[str, tuple[str, bool]]
) -> str | None:
    if len(answer.candidates) != len(expected.candidates):
        return f"expected {len(expected.candidates)} popular candidates, got {len(answer.candidates)}"
    if len({one.item_id for one in answer.candidates}) != len(answer.candidates):
        return "a candidate is listed twice"
    for rank, one in enumerate(answer.candidates):
        if one.rank != rank or one.log_prob is not None or allowed.get(one.item_id) != (one.sid, one.familiar):
            return f"candidate {rank}: expected an allowed item by popularity, got {one}"
    scores = [one.score for one in answer.candidates]
    return None if scores == sorted(scores, reverse=True) else f"scores that rise: {scores}"
