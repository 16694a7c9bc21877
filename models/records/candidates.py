"""`candidates.v1`: the candidate set of one session-start, for a downstream ranker; the key is `user_id`.

Delivered at least once with a deterministic id: consumers keep the first of duplicates.
"""

import uuid
from typing import Literal

from pydantic import Field

from sidestream.models.records.base import AtMs, Id, Record
from sidestream.models.records.session import Discovery

# A separate namespace, so that ids never collide with those of another system.
CANDIDATE_SET_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "sidestream:candidate-set")


# Why an answer did not come from the model. overload: its deadline would have passed before its turn.
FallbackReason = Literal[
    "no_history", "empty_catalogue", "deadline", "overload", "engine_error", "state_error", "no_model", "no_candidates"
]


class Candidate(Record):
    """One item of the answer."""

    item_id: Id
    sid: str = Field(description="Codes joined by dashes, for display.")
    rank: int = Field(ge=0)
    score: float = Field(description="Score that orders the list.")
    log_prob: float | None = Field(
        default=None, description="Log-probability of the SID; null if not ranked by the model."
    )
    familiar: bool = Field(description="The item, its show or its creator is in the listener's recent history.")
    reserved: Literal["new"] | None = Field(default=None, description="Set if the place is reserved for new items.")


class Fallback(Record):
    """Why the answer did not come from the model."""

    reason: FallbackReason


class CandidateSet(Record):
    """The candidates of one session-start, with everything needed to evaluate and reproduce them."""

    candidate_set_id: str = Field(
        description="UUIDv5 of user, session and page: the same in every delivery. Not checked when a set is read."
    )
    session_id: Id
    user_id: Id
    page: int = 0
    requested_at: AtMs = Field(description="`at` of the session-start. Epoch milliseconds UTC.")
    produced_at: AtMs = Field(description="When the candidates were produced. Epoch milliseconds UTC.")
    model_version: str
    tokenizer_version: str
    catalogue_version: str = Field(description="Identifies the pinned snapshot within its worker.")
    catalogue_offsets: tuple[int, ...] | None = Field(
        default=None,
        description="Next offset of item-sids.v1 by partition: the pinned snapshot has all records below it. Missing: "
        "unknown.",
    )
    judged_at: AtMs | None = Field(
        default=None,
        description="Time used to decide which items are expired or new: about produced_at, or the log's time if "
        "worker.clock is log. Epoch milliseconds UTC. Missing: unknown.",
    )
    state_watermark: int = Field(description="Highest listen offset folded into the state that was read; -1 if none.")
    listens_missing: int | None = Field(
        default=None,
        ge=1,
        description="Listens of this partition not folded when session.wait_for_lane_ms passed; null if none.",
    )
    discovery: Discovery
    candidates: tuple[Candidate, ...]
    fallback: Fallback | None = None
    timings_ms: dict[str, float] = Field(
        default_factory=dict, description="Time per step and in total, in milliseconds."
    )


def candidate_set_id(user_id: str, session_id: str, page: int) -> str:
    """Return the deterministic id of a candidate set: a UUIDv5 of user, session and page.

    A length prefix distinguishes ("a", "bc") from ("ab", "c").
    """
    name = f"{len(user_id)}:{user_id}:{len(session_id)}:{session_id}:{page}"
    return str(uuid.uuid5(CANDIDATE_SET_NAMESPACE, name))
