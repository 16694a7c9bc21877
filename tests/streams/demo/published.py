"""Records of `item-sids.v1` and of listens, session-starts and candidate sets for tests of the demo's judgement."""

from sidestream.models.records import (
    Candidate,
    CandidateSet,
    ItemSids,
    Listen,
    SessionStart,
    TokenizedItem,
    UserErasure,
)
from sidestream.models.records.candidates import candidate_set_id
from sidestream.streams.kafka.tail import TopicRecord

VERSION = "00112233aabb"
# Times of tests are small numbers after this one.
T = 1_700_000_000_000


def value(item_id, *, event=0, revision=None, sid=(1, 2), version=VERSION, more=None, kind="track", **facts):
    tokenized = TokenizedItem(sid=sid, vector="AAAA", vector_scale=0.5, more_sids=more)
    return ItemSids(
        item_id=item_id, kind=kind, source_offset=event, revision=revision, versions={version: tokenized}, **facts
    ).to_json()


def upsert(item_id, offset, *, partition=0, timestamp=0, **fields):
    fields.setdefault("event", offset)
    return TopicRecord(partition, offset, timestamp, item_id.encode(), value(item_id, **fields), ())


def removal(item_id, offset, *, partition=0):
    return TopicRecord(partition, offset, 0, item_id.encode(), None, ())


def heard(item_id, offset, *, user="u", at=None, event=None, partition=0):
    at = T + offset if at is None else at
    listen = Listen(event_id=event or f"e{offset}", user_id=user, item_id=item_id, at=at)
    return TopicRecord(partition, offset, -1, user.encode(), listen.to_json(), ())


def erasure(at, *, user="u"):
    value = UserErasure(erasure_id="x", user_id=user, at=at).to_json()
    return TopicRecord(0, 0, -1, user.encode(), value, ())


def start_of(session_id="s", **fields):
    return SessionStart(session_id=session_id, user_id="u", **{"at": T + 100, "num_candidates": 3, **fields})


def answer_of(
    *item_ids, start=None, familiar=False, sid="1-2", scores=None, offsets=(10,), judged_at=T + 100, **fields
):
    start = start or start_of()
    return CandidateSet(
        **{
            "candidate_set_id": candidate_set_id("u", start.session_id, start.page),
            "session_id": start.session_id,
            "user_id": "u",
            "requested_at": start.at,
            "produced_at": T + 5_000,
            "model_version": "m",
            "tokenizer_version": VERSION,
            "catalogue_version": f"{VERSION}.1",
            "catalogue_offsets": offsets,
            "judged_at": judged_at,
            "state_watermark": -1,
            "discovery": start.discovery,
            "candidates": tuple(
                Candidate(item_id=name, sid=sid, rank=rank, score=scores[rank] if scores else 0.0, familiar=familiar)
                for rank, name in enumerate(item_ids)
            ),
            **fields,
        }
    )
