"""Recommender core: view -> rules -> features -> engine -> reserved places -> candidate set.

Decisions:
- Every candidate, ranked, reserved or filled in, passes the same mask of the pinned snapshot and is listed once.
- A set has `fallback` only if the model returned nothing. If it returned too few items, popular items that pass the
  same rules fill the set; their `log_prob` is null. So is that of reserved ones, which also have `reserved`.
- `score` decreases along the list. After the last ranked item, filled and reserved ones continue below its score by
  their distance from the best possible strength, so a consumer that sorts by score keeps this order.
- Nothing here reads a clock or draws a random number: equal arguments give an equal set, except for timings.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sidestream.models.engine import CandidateEngine, Request
from sidestream.models.errors import EngineError
from sidestream.models.features import features
from sidestream.models.history.view import HistoryView, view
from sidestream.models.recommend.filters import are_familiar, eligibility_of, excluded_rows
from sidestream.models.recommend.new_items import new_items, places
from sidestream.models.recommend.popular import popular
from sidestream.models.recommend.settings import RecommendSettings
from sidestream.models.recommend.steps import Steps
from sidestream.models.records import CandidateSet, SessionStart
from sidestream.models.records.candidates import FallbackReason, candidate_set_id
from sidestream.tokenizer.catalogue import CatalogueSnapshot, Eligibility
from sidestream.tokenizer.generations import Alignment
from sidestream.tokenizer.popularity import popularity_scores
from sidestream.tokenizer.sid import format_sid

Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Query:
    """One session with its rules compiled against the pinned snapshot."""

    start: SessionStart
    history: HistoryView
    snapshot: CatalogueSnapshot
    now_ms: int
    eligibility: Eligibility
    excluded: Int32Array
    # Shape: (R,). Eligible and not excluded.
    allowed: BoolArray


@dataclass(frozen=True, slots=True)
class _Pick:
    """One entry of the list, before it has ids and SIDs."""

    row: int
    score: float
    log_prob: float | None = None
    leaf: int = -1
    reserved: Literal["new"] | None = None


class Recommender:
    """Computes candidate sets for session-starts; stateless and safe to call from several threads.

    Args:
        engine: The ranking engine; None answers everything by popularity.
        tokenizer_version: Version under which histories are read.
        model_version: Recorded in the candidate sets.
        settings: Search, rules and reserved places.
        alignments: Maps for listens that are stored under older tokenizer versions, one for each.
        on_history_read: Called with every history that was read, from several threads.
    """

    def __init__(
        self,
        engine: CandidateEngine | None,
        tokenizer_version: str,
        model_version: str,
        settings: RecommendSettings | None = None,
        alignments: Sequence[Alignment] = (),
        on_history_read: Callable[[HistoryView], None] | None = None,
    ) -> None:
        self.tokenizer_version = tokenizer_version
        self.model_version = model_version
        self._engine = engine
        self._alignments = tuple(alignments)
        self._on_history_read = on_history_read
        self._settings = settings if settings is not None else RecommendSettings()

    def recommend(
        self,
        start: SessionStart,
        state: bytes | None,
        snapshot: CatalogueSnapshot,
        now_ms: int,
        steps: Steps | None = None,
    ) -> CandidateSet:
        """Answer one session-start.

        Args:
            start: The session-start.
            state: The listener's stored state; None for an unknown listener.
            snapshot: Pinned catalogue.
            now_ms: UTC epoch milliseconds, used for expiry and newness, and as `produced_at`.
            steps: Stopwatch to add this answer's steps to.

        Returns:
            The candidate set; if the engine fails, popular items with the fallback reason `engine_error`.

        Raises:
            StateError: The state cannot be decoded.
        """
        steps = steps if steps is not None else Steps()
        return self.recommend_for(start, self._history(state, snapshot, steps), snapshot, now_ms, steps)

    def recommend_for(
        self,
        start: SessionStart,
        history: HistoryView,
        snapshot: CatalogueSnapshot,
        now_ms: int,
        steps: Steps | None = None,
    ) -> CandidateSet:
        """Answer one session-start for a history that may be longer than a state holds.

        Args:
            start: The session-start.
            history: The listener's history under this snapshot.
            snapshot: Pinned catalogue.
            now_ms: UTC epoch milliseconds, used for expiry and newness, and as `produced_at`.
            steps: Stopwatch to add this answer's steps to.

        Returns:
            The candidate set, like that of `recommend`.
        """
        steps = steps if steps is not None else Steps()
        query = self._query(start, history, snapshot, now_ms, steps)
        reason = self._fallback_reason(query)
        if reason is not None:
            return self._answer(query, [], reason, steps)
        try:
            ranked = self._ranked(query, steps)
        except EngineError:
            return self._answer(query, [], "engine_error", steps)
        return self._answer(query, ranked, None if ranked else "no_candidates", steps)

    def fall_back(
        self,
        start: SessionStart,
        state: bytes | None,
        snapshot: CatalogueSnapshot,
        now_ms: int,
        reason: FallbackReason,
        steps: Steps | None = None,
    ) -> CandidateSet:
        """Answer one session-start by popularity, without the engine.

        Args:
            start: The session-start.
            state: The listener's stored state; None for an unknown listener.
            snapshot: Pinned catalogue.
            now_ms: UTC epoch milliseconds.
            reason: Why the model is not used.
            steps: Stopwatch to add this answer's steps to.

        Returns:
            The candidate set, with the fallback reason.

        Raises:
            StateError: The state cannot be decoded.
        """
        steps = steps if steps is not None else Steps()
        history = self._history(state, snapshot, steps)
        return self._answer(self._query(start, history, snapshot, now_ms, steps), [], reason, steps)

    def _history(self, state: bytes | None, snapshot: CatalogueSnapshot, steps: Steps) -> HistoryView:
        with steps.time("state"):
            history = view(state, snapshot, self.tokenizer_version, self._alignments)
        if self._on_history_read is not None:
            self._on_history_read(history)
        return history

    def _query(
        self, start: SessionStart, history: HistoryView, snapshot: CatalogueSnapshot, now_ms: int, steps: Steps
    ) -> _Query:
        with steps.time("features"):
            eligibility = eligibility_of(start, snapshot, history, now_ms)
            excluded = excluded_rows(start, snapshot, history, exclude_seen=self._settings.exclude_seen)
            allowed = eligibility.item.copy()
            allowed[excluded] = False
            # Aliases are additional SIDs that the beam reaches an item by, not items.
            allowed[snapshot.aliases.rows] = False
        return _Query(start, history, snapshot, now_ms, eligibility, excluded, allowed)

    def _fallback_reason(self, query: _Query) -> FallbackReason | None:
        """Return why the model cannot be used, None if it can."""
        if query.snapshot.num_items == 0:
            return "empty_catalogue"
        if query.history.rows.size == 0:
            return "no_history"
        return "no_model" if self._engine is None else None

    def _ranked(self, query: _Query, steps: Steps) -> list[_Pick]:
        """Rank items with the engine."""
        if self._engine is None:
            return []
        with steps.time("features"):
            request = Request(
                features=features(query.history, self._settings.max_history),
                num_candidates=query.start.num_candidates,
                excluded_rows=query.excluded,
                eligibility=query.eligibility,
            )
        with steps.time("engine"):
            result = self._engine.recommend(request, query.snapshot)
        # The graph already obeys the masks; a row outside them would violate a rule, so this is checked again.
        columns = (result.rows, result.scores, result.log_probs, result.leaves, query.allowed[result.rows])
        listed = zip(*(column.tolist() for column in columns), strict=True)
        return [_Pick(row, score, log_prob, leaf) for row, score, log_prob, leaf, allowed in listed if allowed]

    def _answer(
        self, query: _Query, ranked: Sequence[_Pick], reason: FallbackReason | None, steps: Steps
    ) -> CandidateSet:
        """Compose the candidate set: fill, reserve, add ids and flags."""
        with steps.time("resolve"):
            start, snapshot = query.start, query.snapshot
            picks = self._picks(query, ranked)
            # One validation pass over plain values: creating 30 models one by one would take 0.2 ms.
            candidate_set = CandidateSet.model_validate(
                {
                    "candidate_set_id": candidate_set_id(start.user_id, start.session_id, start.page),
                    "session_id": start.session_id,
                    "user_id": start.user_id,
                    "page": start.page,
                    "requested_at": start.at,
                    "produced_at": query.now_ms,
                    "model_version": self.model_version,
                    "tokenizer_version": self.tokenizer_version,
                    "catalogue_version": snapshot.version,
                    "catalogue_offsets": snapshot.source_offsets,
                    "judged_at": query.now_ms,
                    "state_watermark": query.history.watermark,
                    "discovery": start.discovery,
                    "candidates": _candidate_fields(query, picks),
                    "fallback": {"reason": reason} if reason is not None else None,
                }
            )
        return candidate_set.model_copy(update={"timings_ms": steps.report_ms()})

    def _picks(self, query: _Query, ranked: Sequence[_Pick]) -> list[_Pick]:
        """Compose the list: ranked items, popular ones if there are too few, new ones in the last places."""
        wanted = query.start.num_candidates
        open_places = places(wanted, self._settings)
        leading = {pick.row for pick in ranked[: wanted - open_places]}
        new: list[_Pick] = []
        if open_places:
            rows, similarities = new_items(query.snapshot, query.history, query.allowed, query.now_ms, self._settings)
            competing = zip(rows.tolist(), similarities.tolist(), strict=True)
            new = [_Pick(row, similarity, reserved="new") for row, similarity in competing if row not in leading][
                :open_places
            ]
        kept = {pick.row for pick in new}
        picks = [pick for pick in ranked if pick.row not in kept][: wanted - len(new)]
        missing = wanted - len(new) - len(picks)
        if missing > 0:
            taken = kept | {pick.row for pick in picks}
            picks.extend(_continue_scores(picks, self._popular_picks(query, taken, missing)))
        picks.extend(_continue_scores(picks, new))
        return picks

    def _popular_picks(self, query: _Query, taken: set[int], missing: int) -> list[_Pick]:
        """Choose popular items that are not in the list yet; the most popular one chosen has strength 1."""
        allowed = query.allowed.copy()
        allowed[list(taken)] = False
        rows = popular(query.snapshot, allowed, missing)
        weights = popularity_scores(query.snapshot, rows)
        strengths = weights / weights.max() if rows.size else weights
        return [_Pick(row, strength) for row, strength in zip(rows.tolist(), strengths.tolist(), strict=True)]


def _continue_scores(before: Sequence[_Pick], picks: Iterable[_Pick]) -> list[_Pick]:
    """Continue the scores below the last one listed: that score minus the difference of each strength to 1."""
    floor = before[-1].score if before else 0.0
    return [_Pick(pick.row, floor - (1.0 - pick.score), pick.log_prob, pick.leaf, pick.reserved) for pick in picks]


def _candidate_fields(query: _Query, picks: Sequence[_Pick]) -> list[dict[str, Any]]:
    """Return the fields of candidates: ids, SIDs and flags of the rows."""
    snapshot = query.snapshot
    rows = np.fromiter((pick.row for pick in picks), dtype=np.int32, count=len(picks))
    sids = snapshot.codes_of_rows(rows)
    if snapshot.aliases.rows.size:
        # The SID by which the item was found, which its log_prob refers to.
        leaves = np.fromiter((pick.leaf for pick in picks), dtype=np.int32, count=len(picks))
        firsts = snapshot.bucket_offsets[leaves[leaves >= 0]]
        sids[leaves >= 0] = snapshot.codes_of_rows(snapshot.bucket_rows[firsts])
    named = zip(
        picks,
        snapshot.item_ids(rows),
        sids.tolist(),
        are_familiar(snapshot, query.history, rows),
        strict=True,
    )
    return [
        {
            "item_id": item_id,
            "sid": format_sid(codes),
            "rank": rank,
            "score": pick.score,
            "log_prob": pick.log_prob,
            "familiar": known,
            "reserved": pick.reserved,
        }
        for rank, (pick, item_id, codes, known) in enumerate(named)
    ]
