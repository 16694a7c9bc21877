"""The rules that every candidate set must keep, judged against the snapshot and the time that it names.

A candidate is invalid if its item was not in the named snapshot, had expired by the named time, has another SID there,
breaks a rule of its session-start, was in the history that was to be left out, has a higher score than the one before
it or stands in the set twice. A set is invalid if it is empty although an item was eligible, if the model found no
candidate although popularity did, if it repeats another session-start than its id names, if it was made from the state
of another listener, or if it was judged at a time that the log's clock cannot have shown. What was published after the
snapshot was taken, and how late a busy machine answers, plays no part. A set of an older worker names neither: its
candidates are invalid only if no state of the item that was ever published allows them.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from sidestream.models.records import Candidate, CandidateSet, ItemSids, SessionStart
from sidestream.models.records.times import LATEST_AT
from sidestream.streams.demo.judging.history import CatalogueHistory, Published


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken promise.

    Attributes:
        candidate_set_id: The set.
        session_id: Its session.
        user_id: Its listener.
        item_id: The item; None where the whole set is at fault.
        why: What is wrong, as the end of a sentence.
    """

    candidate_set_id: str
    session_id: str
    user_id: str
    item_id: str | None
    why: str

    def __str__(self) -> str:
        place = f"set {self.candidate_set_id} (session {self.session_id} of {self.user_id})"
        return f"{place}: {self.why}" if self.item_id is None else f"{place}: item {self.item_id} {self.why}"

    def as_json(self) -> dict[str, Any]:
        """Write it down."""
        return asdict(self)


# Fields of a set that repeat the session-start's.
_REPEATED = {
    "session_id": "session_id",
    "user_id": "user_id",
    "page": "page",
    "requested_at": "at",
    "discovery": "discovery",
}


def faults_of(
    start: SessionStart,
    answer: CandidateSet,
    history: CatalogueHistory,
    seen: Collection[str] = (),
    *,
    is_own_state: bool = True,
    latest_at: int | None = None,
) -> list[Fault]:
    """Judge one answer.

    Args:
        start: What was asked.
        answer: What came.
        history: Must cover the offsets that the answer names.
        seen: Items of the listener's state that were to be left out.
        is_own_state: Whether the watermark is that of a state of the listener.
        latest_at: Time of the latest session-start so far; None where it is not known.

    Returns:
        Every fault; empty for a valid set.
    """
    found: list[tuple[str | None, str]] = [(None, why) for why in _foreign(start, answer, is_own_state, latest_at)]
    if len(answer.candidates) > start.num_candidates:
        found.append((None, f"{len(answer.candidates)} candidates, asked for {start.num_candidates}"))
    if not answer.candidates:
        found += [
            (item_id, f"was eligible {_by(answer)}, but the set is empty")
            for item_id in _missed(start, answer, history, seen)
        ]
    elif answer.fallback is not None and answer.fallback.reason == "no_candidates":
        found.append((None, "the model found no candidates, but popularity did"))
    ranked = sorted(answer.candidates, key=lambda candidate: candidate.rank)
    found += [
        (after.item_id, f"has score {after.score} at rank {after.rank}, above {before.score} at rank {before.rank}")
        for before, after in pairwise(ranked)
        if after.score > before.score
    ]
    found += [(c.item_id, "was in the listener's history") for c in answer.candidates if c.item_id in seen]
    counts = Counter(candidate.item_id for candidate in answer.candidates)
    found += [(item_id, f"is listed {count} times") for item_id, count in counts.items() if count > 1]
    for candidate in answer.candidates:
        found += [(candidate.item_id, why) for why in _broken(start, answer, candidate, history)]
    return [Fault(answer.candidate_set_id, answer.session_id, answer.user_id, item_id, why) for item_id, why in found]


def _foreign(start: SessionStart, answer: CandidateSet, is_own_state: bool, latest_at: int | None) -> Iterator[str]:
    """Say what in the set is not of this session-start, listener and time."""
    for name, source in _REPEATED.items():
        found, asked = getattr(answer, name), getattr(start, source)
        if found != asked:
            yield f"has {name}={found}, asked for {asked}"
    if not is_own_state:
        yield f"was made from a state at offset {answer.state_watermark}, which is no listen of {start.user_id}"
    # The log's clock has been turned to this session-start, and never beyond the latest one. Others who talk with the
    # demo send theirs with the time of the machine.
    latest = max(start.at, answer.produced_at, latest_at or LATEST_AT)
    if answer.judged_at is not None and not start.at <= answer.judged_at <= latest:
        yield f"was judged at {answer.judged_at}, expected between {start.at} and {latest}"


def _broken(
    start: SessionStart, answer: CandidateSet, candidate: Candidate, history: CatalogueHistory
) -> Iterator[str]:
    if start.discovery != "any" and candidate.familiar != (start.discovery == "familiar"):
        yield f"breaks discovery={start.discovery}"
    if candidate.item_id in start.exclude:
        yield "was excluded by the session-start"
    named = answer.catalogue_offsets
    states = history.states(candidate.item_id, named)
    why: str | None = f"was not published {_by(answer)}"
    for state in states:
        why = _broken_by_state(start, answer, candidate.sid, state)
        if why is None:
            return
    if why is not None:
        yield why


def _missed(
    start: SessionStart, answer: CandidateSet, history: CatalogueHistory, seen: Collection[str]
) -> Iterator[str]:
    """Find an item that an empty set should list; none where the snapshot or what is familiar is not known."""
    if answer.catalogue_offsets is None or start.discovery != "any":
        return
    for item_id in history.item_ids():
        if item_id in seen or item_id in start.exclude:
            continue
        for state in history.states(item_id, answer.catalogue_offsets):
            if _broken_by_state(start, answer, None, state) is None:
                yield item_id
                return


def _broken_by_state(start: SessionStart, answer: CandidateSet, sid: str | None, state: Published) -> str | None:
    """Say why this state of the item forbids a candidate, under this SID if one is given; None if it allows it."""
    if state.item is None:
        return f"was removed at offset {state.offset} of item-sids.v1, {_by(answer)}"
    sids = state.sids.get(answer.tokenizer_version)
    if sids is None:
        return f"has no SID under tokenizer version {answer.tokenizer_version} {_by(answer)}"
    if sid is not None and sid not in sids:
        return f"is listed with SID {sid}, but has {', '.join(sorted(sids))} {_by(answer)}"
    at = answer.judged_at
    if at is None:
        at = min(answer.requested_at, answer.produced_at)
    if state.item.expires_at is not None and state.item.expires_at <= at:
        return f"had expired at {state.item.expires_at}, judged at {at}"
    return _broken_rule(start, state.item)


def _broken_rule(start: SessionStart, item: ItemSids) -> str | None:
    if start.market is not None and item.market and start.market not in item.market:
        return f"may not be played in {start.market}"
    if start.allow_explicit is False and item.explicit:
        return "is explicit, which the session-start does not allow"
    if start.kinds is not None and item.kind not in start.kinds:
        return f"is of kind {item.kind}, asked for {', '.join(start.kinds)}"
    if start.live_now is not None and start.live_now != (item.kind == "live"):
        return f"is of kind {item.kind}, asked for live_now={str(start.live_now).lower()}"
    if start.languages is not None and item.language is not None:
        language = item.language.lower()
        if not {language, language.split("-")[0]} & {wanted.lower() for wanted in start.languages}:
            return f"is in {item.language}, asked for {', '.join(start.languages)}"
    return None


def _by(answer: CandidateSet) -> str:
    if answer.catalogue_offsets is None:
        return "in any state that was published"
    return f"in snapshot {answer.catalogue_version} (offsets {', '.join(map(str, answer.catalogue_offsets))})"
