"""What the demo has sent and what came back: answered or not, how fast, and each set judged once its snapshot is known.

An answer waits until `item-sids.v1` and `listen-events.v1` have been read up to the offsets that it names; then
`judging` decides. How late a removed item still came is counted, not judged: it depends on the machine. Only an item
that stays for good is a fault.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sidestream.models.data import CatalogEvent, LogRow
from sidestream.models.records import CandidateSet, CatalogItem, SessionStart
from sidestream.models.records.candidates import candidate_set_id
from sidestream.streams.contracts.decode import DEFAULT_LIMITS, Limits
from sidestream.streams.contracts.settings import DEFAULT_PARTITIONER, PartitionerName
from sidestream.streams.demo.judging.history import CatalogueHistory
from sidestream.streams.demo.judging.judge import Fault, faults_of
from sidestream.streams.demo.judging.listens import ListenHistory
from sidestream.streams.kafka.tail import TopicRecord

# A removed item must be out of answers to session-starts that are sent later than this, on a machine with time for it.
REMOVAL_GRACE_S = 1.0
# Rows of a list that people are shown.
SHOWN_CANDIDATES = 10


@dataclass(slots=True)
class _Sent:
    start: SessionStart
    sent_s: float


@dataclass(slots=True)
class _Known:
    item: CatalogItem
    removed_s: float | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered session-start.

    Attributes:
        start: What was asked.
        answer: What came.
        delay_ms: From publishing the session-start to reading its candidates.
    """

    start: SessionStart
    answer: CandidateSet
    delay_ms: float

    @property
    def worth(self) -> tuple[int, int, int]:
        """How much there is to see: by the model, with familiar, unfamiliar and new items in it, and recent."""
        candidates = self.answer.candidates
        kinds = {c.familiar for c in candidates[:SHOWN_CANDIDATES]}
        has_new = any(c.reserved for c in candidates)
        return (self.answer.fallback is None, len(kinds) + has_new, self.start.at)


@dataclass(slots=True)
class Ledger:
    """Fed by the publishing loop and by the reading threads.

    Attributes:
        seconds: Monotonic clock.
        stuck_s: An item that is still listed so long after its removal is a fault: the catalogue stands still.
        limits: What a listen must keep, as the worker judges it.
        partitioner: How users are mapped to partitions.
        exclude_seen: Whether the worker leaves out items of the history.
        faults: Broken promises.
        evidence: For each faulty set, what shows it: request, answer, and the history of the items.
        best: The answer that is worth showing most.
        listens: Listens sent.
        num_answered: Session-starts answered.
        late_removals: Candidates later than `REMOVAL_GRACE_S` after the removal of their item.
        late_removal_s: The longest of these delays.
    """

    seconds: Callable[[], float] = time.monotonic
    stuck_s: float = 60.0
    limits: Limits = DEFAULT_LIMITS
    partitioner: PartitionerName = DEFAULT_PARTITIONER
    exclude_seen: bool = True
    faults: list[Fault] = field(default_factory=list)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    best: Answered | None = None
    listens: int = 0
    num_answered: int = 0
    late_removals: int = 0
    late_removal_s: float = 0.0
    _items: dict[str, _Known] = field(default_factory=dict)
    _open: dict[str, _Sent] = field(default_factory=dict)
    _unjudged: list[tuple[_Sent, CandidateSet]] = field(default_factory=list)
    _latest_at: int = 0
    _delays_ms: list[float] = field(default_factory=list)
    _fallbacks: Counter[str] = field(default_factory=Counter)
    _history: CatalogueHistory = field(default_factory=CatalogueHistory)
    _listens: ListenHistory = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._listens = ListenHistory(self.limits, self.partitioner)

    def sending(self, rows: Sequence[LogRow]) -> None:
        """Note rows that are about to be published.

        Args:
            rows: In order.
        """
        now_s = self.seconds()
        with self._lock:
            for row in rows:
                record = row.record
                if isinstance(record, SessionStart):
                    self._note_start(SessionStart.from_json(row.value or b""), now_s)
                elif isinstance(record, CatalogEvent):
                    self._note_item(row, now_s)
                else:
                    self.listens += 1

    def asking(self, start: SessionStart) -> None:
        """Note one session-start that is about to be published.

        Args:
            start: It.
        """
        with self._lock:
            self._note_start(start, self.seconds())

    def reading_from(self, items: dict[int, int], listens: dict[int, int]) -> None:
        """Note where reading `item-sids.v1` and `listen-events.v1` begins: first offset by partition."""
        with self._lock:
            self._history.begin(items)
            self._listens.begin(listens)

    def published(self, records: Iterable[TopicRecord]) -> None:
        """Take what came on `item-sids.v1`, and judge the sets that waited for it.

        Args:
            records: In order inside a partition.
        """
        with self._lock:
            for record in records:
                self._history.take(record)
            self._judge_waiting()

    def listened(self, records: Iterable[TopicRecord]) -> None:
        """Take what came on `listen-events.v1`, and judge the sets that waited for it.

        Args:
            records: In order inside a partition.
        """
        with self._lock:
            for record in records:
                self._listens.take(record)
            self._judge_waiting()

    def erased(self, records: Iterable[TopicRecord]) -> None:
        """Take what came on `user-erasures.v1`.

        Args:
            records: In order inside a partition.
        """
        with self._lock:
            for record in records:
                self._listens.erase(record)

    def received(self, answer: CandidateSet) -> None:
        """Note an answer, and judge it if its snapshot is known.

        Args:
            answer: A candidate set; skipped if it repeats one, or answers somebody else who talks with the demo.
        """
        now_s = self.seconds()
        name = answer.candidate_set_id
        with self._lock:
            sent = self._open.pop(name, None)
            if sent is None:
                return
            found = Answered(sent.start, answer, (now_s - sent.sent_s) * 1e3)
            self.num_answered += 1
            self._delays_ms.append(found.delay_ms)
            if answer.fallback is not None:
                self._fallbacks[answer.fallback.reason] += 1
            if self.best is None or found.worth > self.best.worth:
                self.best = found
            self._note_late(sent, answer)
            self._judge(sent, answer)

    def end_pass(self) -> None:
        """Forget what later sets cannot name any more: the demo may play for days."""
        with self._lock:
            if not self._unjudged and not self._open:
                self._history.forget_past()
                self._listens.forget_past()

    def item(self, item_id: str) -> CatalogItem | None:
        """Look up an item that was sent.

        Args:
            item_id: Item.

        Returns:
            The item as it was sent last, None if it never was.
        """
        known = self._items.get(item_id)
        return known.item if known else None

    @property
    def num_items(self) -> int:
        """Items sent and not removed."""
        return sum(known.removed_s is None for known in self._items.values())

    @property
    def num_sessions(self) -> int:
        """Session-starts sent."""
        return len(self._open) + self.num_answered

    @property
    def unanswered(self) -> int:
        """Session-starts without an answer."""
        return len(self._open)

    @property
    def unjudged(self) -> int:
        """Answers whose snapshot is not known yet."""
        return len(self._unjudged)

    def open_sessions(self) -> list[str]:
        """Name the session-starts without an answer."""
        with self._lock:
            return [f"session {s.start.session_id} of {s.start.user_id} (set {name})" for name, s in self._open.items()]

    def figures(self) -> dict[str, Any]:
        """Sum up for the summary line."""
        with self._lock:
            return {
                "listens": self.listens,
                "items": len(self._items),
                "sessions": self.num_sessions,
                "candidate_sets": self.num_answered,
                "answered_share": self.num_answered / self.num_sessions if self.num_sessions else 0.0,
                "invalid_candidates": len(self.faults),
                "unjudged_sets": len(self._unjudged),
                "fallback_sets": self._fallbacks.total(),
                "fallback_reasons": dict(self._fallbacks.most_common()),
                "late_removals": self.late_removals,
                "late_removal_s": round(self.late_removal_s, 2),
                "p50_ms": self._percentile_ms(50),
                "p99_ms": self._percentile_ms(99),
            }

    def _percentile_ms(self, percent: int) -> float | None:
        return round(float(np.percentile(self._delays_ms, percent)), 2) if self._delays_ms else None

    def _note_start(self, start: SessionStart, now_s: float) -> None:
        self._open[candidate_set_id(start.user_id, start.session_id, start.page)] = _Sent(start, now_s)
        self._latest_at = max(self._latest_at, start.at)

    def _note_item(self, row: LogRow, now_s: float) -> None:
        if row.value is not None:
            self._items[row.key] = _Known(CatalogItem.from_json(row.value))
        elif row.key in self._items:
            self._items[row.key].removed_s = now_s

    def _note_late(self, sent: _Sent, answer: CandidateSet) -> None:
        for candidate in answer.candidates:
            known = self._items.get(candidate.item_id)
            if known is None or known.removed_s is None:
                continue
            late_s = sent.sent_s - known.removed_s
            if late_s <= REMOVAL_GRACE_S:
                continue
            self.late_removals += 1
            self.late_removal_s = max(self.late_removal_s, late_s)
            if late_s > self.stuck_s:
                why = f"was removed {late_s:.0f} s before the session-start; the worker's catalogue stands still"
                fault = Fault(answer.candidate_set_id, answer.session_id, answer.user_id, candidate.item_id, why)
                self._keep(sent, answer, [fault])

    def _judge_waiting(self) -> None:
        waiting, self._unjudged = self._unjudged, []
        for sent, answer in waiting:
            self._judge(sent, answer)

    def _judge(self, sent: _Sent, answer: CandidateSet) -> None:
        listener = (sent.start.user_id, answer.state_watermark)
        if not (self._history.covers(answer.catalogue_offsets) and self._listens.covers(*listener)):
            self._unjudged.append((sent, answer))
            return
        excludes = self.exclude_seen and sent.start.discovery != "familiar"
        seen = self._listens.recent(*listener) if excludes else ()
        is_own, latest_at = self._listens.is_own(*listener), self._latest_at
        faults = faults_of(sent.start, answer, self._history, seen, is_own_state=is_own, latest_at=latest_at)
        if faults:
            self._keep(sent, answer, faults)

    def _keep(self, sent: _Sent, answer: CandidateSet, faults: Sequence[Fault]) -> None:
        self.faults.extend(faults)
        items = {fault.item_id for fault in faults if fault.item_id is not None}
        self.evidence.append(
            {
                "faults": [fault.as_json() for fault in faults],
                "session_start": sent.start.model_dump(mode="json", exclude_none=True),
                "candidate_set": answer.model_dump(mode="json", exclude_none=True),
                "items": self._history.of_items(items),
            }
        )
