"""What the demo has sent and what came back: answered or not, how fast, and every candidate judged by the log.

A candidate is invalid if its item was never sent or was removed more than a second before the session-start went out,
if it had expired by the session's time, may not be played in its market, was excluded, repeats in its set, breaks the
discovery mode, or makes the set longer than asked for. The judge knows the log alone, nothing of the worker.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sidestream.models.data import CatalogEvent, LogRow
from sidestream.models.records import CandidateSet, CatalogItem, SessionStart
from sidestream.models.records.candidates import candidate_set_id

# A removal must be out of all answers to later session-starts within one swap of the catalogue.
REMOVAL_GRACE_S = 1.0


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


@dataclass(slots=True)
class Ledger:
    """Fed by the publishing loop and by the reading thread.

    Attributes:
        seconds: Monotonic clock.
        answered: Answers by candidate set id.
        invalid: What is wrong with invalid candidates, a line each.
        listens: Listens sent.
    """

    seconds: Callable[[], float] = time.monotonic
    answered: dict[str, Answered] = field(default_factory=dict)
    invalid: list[str] = field(default_factory=list)
    listens: int = 0
    _items: dict[str, _Known] = field(default_factory=dict)
    _sent: dict[str, _Sent] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
                    start = SessionStart.from_json(row.value or b"")
                    name = candidate_set_id(start.user_id, start.session_id, start.page)
                    self._sent[name] = _Sent(start, now_s)
                elif isinstance(record, CatalogEvent):
                    self._note_item(row, now_s)
                else:
                    self.listens += 1

    def received(self, answer: CandidateSet) -> None:
        """Note and judge an answer.

        Args:
            answer: A candidate set that was not seen before.
        """
        now_s = self.seconds()
        with self._lock:
            sent = self._sent.get(answer.candidate_set_id)
            if sent is None:
                self.invalid.append(f"set {answer.candidate_set_id}: nobody asked for it")
                return
            self.answered[answer.candidate_set_id] = Answered(sent.start, answer, (now_s - sent.sent_s) * 1e3)
            self.invalid.extend(self._faults(sent, answer))

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
        return len(self._sent)

    @property
    def unanswered(self) -> int:
        """Session-starts without an answer."""
        return len(self._sent) - len(self.answered)

    def figures(self) -> dict[str, Any]:
        """Sum up for the summary line."""
        with self._lock:
            answers = list(self.answered.values())
        fallbacks = Counter(a.answer.fallback.reason for a in answers if a.answer.fallback is not None)
        delays = np.array([a.delay_ms for a in answers] or [np.nan])
        return {
            "listens": self.listens,
            "items": len(self._items),
            "sessions": self.num_sessions,
            "candidate_sets": len(answers),
            "answered_share": len(answers) / self.num_sessions if self.num_sessions else 0.0,
            "invalid_candidates": len(self.invalid),
            "fallback_sets": sum(fallbacks.values()),
            "fallback_reasons": dict(fallbacks.most_common()),
            "p50_ms": round(float(np.percentile(delays, 50)), 2),
            "p99_ms": round(float(np.percentile(delays, 99)), 2),
        }

    def _note_item(self, row: LogRow, now_s: float) -> None:
        if row.value is not None:
            self._items[row.key] = _Known(CatalogItem.from_json(row.value))
        elif row.key in self._items:
            self._items[row.key].removed_s = now_s

    def _faults(self, sent: _Sent, answer: CandidateSet) -> list[str]:
        start, faults = sent.start, []
        ids = [c.item_id for c in answer.candidates]
        if len(ids) > start.num_candidates:
            faults.append(f"{len(ids)} candidates, asked for {start.num_candidates}")
        if len(set(ids)) < len(ids):
            faults.append("an item twice")
        for candidate in answer.candidates:
            if start.discovery != "any" and candidate.familiar != (start.discovery == "familiar"):
                faults.append(f"{candidate.item_id} breaks discovery={start.discovery}")
            if candidate.item_id in start.exclude:
                faults.append(f"{candidate.item_id} was excluded")
            faults.extend(self._item_faults(candidate.item_id, sent))
        return [f"session {start.session_id} of {start.user_id}: {fault}" for fault in faults]

    def _item_faults(self, item_id: str, sent: _Sent) -> list[str]:
        known = self._items.get(item_id)
        if known is None:
            return [f"{item_id} is no item"]
        item, start = known.item, sent.start
        if known.removed_s is not None and known.removed_s + REMOVAL_GRACE_S < sent.sent_s:
            return [f"{item_id} was removed {sent.sent_s - known.removed_s:.1f} s before"]
        if item.expires_at is not None and item.expires_at <= start.at:
            return [f"{item_id} had expired at {item.expires_at}, session at {start.at}"]
        if start.market is not None and item.market and start.market not in item.market:
            return [f"{item_id} may not be played in {start.market}"]
        return []
