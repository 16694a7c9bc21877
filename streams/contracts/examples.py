"""One realistic message for every topic, for the AsyncAPI document; tests decode each as readers do.

All tell of one evening: a user listens to an episode, opens the app again and gets candidates; a quiz goes live.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sidestream.models.records import (
    Candidate,
    CandidateSet,
    CatalogItem,
    Generation,
    GenerationReport,
    ItemSids,
    Listen,
    ListenerMean,
    LiveListeners,
    LiveSegment,
    Record,
    SessionStart,
    TokenizedItem,
    UserErasure,
)
from sidestream.models.records.candidates import candidate_set_id
from sidestream.models.records.times import event_time_fault
from sidestream.streams.contracts.deadletters import (
    EXCEPTION_HEADER,
    MESSAGE_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    REASON_HEADER,
    TIMESTAMP_HEADER,
    TOPIC_HEADER,
)

_AT = 1_780_000_000_000
"""2026-05-28 20:26:40 UTC."""
_USER, _EPISODE, _LIVE, _SESSION = "user-7", "episode-318", "live-quiz-12", "2f1c7a52-session"
_TOKENIZER, _MODEL = "b5dccfb8a970", "0ada5c9a9147"
_VECTOR = "9gYDAPv+AQcC/QQA/wX8Aw=="


def record_example(model: type[Record]) -> Record:
    """Give a message of a topic whose values are JSON.

    Args:
        model: What the values are.

    Returns:
        A value.
    """
    return _RECORDS[model]()


BYTES_EXAMPLES: Final[Mapping[str, str]] = {
    "user-state-changelog.v1": "AgMBAQEBAAAAAAAAAHMQAAAAAAAAtdzPuKlwZ7VXFBwcidtP3OpRcyMAiERwngHIAQARAMsABQA=",
    "live-states.v1": (
        "AZzFAQZ7InNjaGVtYV92ZXJzaW9uIjoxLCJpdGVtX2lkIjoibGl2ZS1xdWl6LTEyIiwia2luZCI6ImxpdmUiLCJ0aXRsZSI6Ikxh"
        "dGUgcXVpeiIsInRhZ3MiOltdLCJtYXJrZXQiOltdLCJleHBsaWNpdCI6ZmFsc2UsInNvdXJjZV9vZmZzZXQiOjEyMTAsInZlcnNp"
        "b25zIjp7ImI1ZGNjZmI4YTk3MCI6eyJzY2hlbWFfdmVyc2lvbiI6MSwic2lkIjpbNjAsNywzMV0sInZlY3RvciI6IjlnWURBUHYr"
        "QVFjQy9RUUEvd1g4QXc9PSIsInZlY3Rvcl9zY2FsZSI6MC4wMDc4fX19zQS6AP8A/wCQkIAAkA=="
    ),
    "item-counts.v1": "AQCEDCQAAAAAdBAAAAAAAAB/CwAAAAAAAA==",
    "item-count-changes.v1": "AQCEDCQAAAAAdBAAAAAAAAB/CwAAAQAAAInbT9zqUXMjAAAAAAAICUA=",
    "item-count-totals.v1": "AQCEDCQAAAAAOQAAAAAAAAB/CwAAAQAAAInbT9zqUXMjAAAAAAAICUA=",
}
"""Base64 of a value by topic name, without prefix, for values that are not JSON."""

KEY_EXAMPLES: Final[Mapping[str, str]] = {
    "user_id": _USER,
    "item_id": _EPISODE,
    "version": _TOKENIZER,
    "worker": "worker/host-a-1",
    "count_part": "3/offset",
    "counted_partition": "3",
    "total_part": "23",
}
"""Record keys by what the key is."""


LIVE_KEY_EXAMPLE: Final = _LIVE


def dead_letter_example() -> dict[str, Any]:
    """Give a dead letter: a listen whose time is in seconds.

    Returns:
        Headers and payload.
    """
    listen = f'{{"event_id":"5b2c","user_id":"{_USER}","item_id":"{_EPISODE}","at":{_AT // 1_000}}}'
    return {
        "headers": {
            TOPIC_HEADER: "listen-events.v1",
            PARTITION_HEADER: "3",
            OFFSET_HEADER: "4212",
            TIMESTAMP_HEADER: str(_AT),
            EXCEPTION_HEADER: "BadRecord",
            MESSAGE_HEADER: f"absurd_time: at: {event_time_fault(_AT // 1_000)}",
            REASON_HEADER: "absurd_time",
        },
        "payload": listen,
    }


def _listen() -> Listen:
    return Listen(
        event_id="5b2c9e0e-event",
        user_id=_USER,
        item_id=_EPISODE,
        at=_AT,
        listened_ms=1_430_000,
        duration_ms=1_812_000,
        signal="like",
        surface="home",
        device="phone",
        session_id=_SESSION,
    )


def _session_start() -> SessionStart:
    return SessionStart(
        session_id=_SESSION,
        user_id=_USER,
        at=_AT + 60_000,
        surface="home",
        device="phone",
        locale="en-GB",
        market="gb",
        languages=("en", "de"),
        allow_explicit=False,
        num_candidates=2,
        exclude=(_EPISODE,),
    )


def _item() -> CatalogItem:
    return CatalogItem(
        item_id=_EPISODE,
        kind="episode",
        title="Why bread rises",
        creator="Ada Okafor",
        show="Kitchen Science",
        tags=("food", "chemistry"),
        language="en",
        market=("gb", "ie"),
        published_at=_AT - 86_400_000,
        expires_at=_AT + 365 * 86_400_000,
        at=_AT - 86_400_000,
        description="Yeast, gluten and time.",
        duration_ms=1_812_000,
    )


def _item_sids() -> ItemSids:
    facts = _item().model_dump(include=set(ItemSids.model_fields) & set(CatalogItem.model_fields))
    versions = {_TOKENIZER: TokenizedItem(sid=(17, 203, 5), vector=_VECTOR, vector_scale=0.0078)}
    return ItemSids(**facts, source_offset=1_204, versions=versions)


def _candidate_set() -> CandidateSet:
    return CandidateSet(
        candidate_set_id=candidate_set_id(_USER, _SESSION, 0),
        session_id=_SESSION,
        user_id=_USER,
        requested_at=_AT + 60_000,
        produced_at=_AT + 60_012,
        model_version=_MODEL,
        tokenizer_version=_TOKENIZER,
        catalogue_version="1204-8",
        state_watermark=4_211,
        discovery="any",
        candidates=(
            Candidate(item_id="episode-322", sid="17-203-9", rank=0, score=3.71, log_prob=-2.04, familiar=True),
            Candidate(item_id="track-90", sid="4-11-250", rank=1, score=2.95, familiar=False, reserved="new"),
        ),
        timings_ms={"state": 0.2, "engine": 2.4, "total": 4.1},
    )


def _user_erasure() -> UserErasure:
    return UserErasure(erasure_id="erasure-2026-05-28-1", user_id=_USER, at=_AT + 3_600_000)


def _live_segment() -> LiveSegment:
    return LiveSegment(
        item_id=_LIVE,
        at=_AT + 5_000,
        start_ms=605_000,
        end_ms=610_000,
        text="And the capital of Mongolia is?",
        field="dialogue",
    )


def _live_listeners() -> LiveListeners:
    means = {_TOKENIZER: ListenerMean(vector=_VECTOR, vector_scale=0.0078, weight=12.5)}
    return LiveListeners(item_id=_LIVE, at=_AT + 9_000, partition=3, since=4_180, offset=4_211, means=means)


def _generation() -> Generation:
    return Generation(version=_TOKENIZER, pair="2026-05", phase="active", may_miss=10, at=_AT)


def _generation_report() -> GenerationReport:
    return GenerationReport(
        version=_TOKENIZER, progress="ready", worker="host-a-1", role="all", serving=_TOKENIZER, missing=3, at=_AT
    )


_RECORDS: Final[Mapping[type[Record], Callable[[], Record]]] = {
    Listen: _listen,
    SessionStart: _session_start,
    CatalogItem: _item,
    ItemSids: _item_sids,
    CandidateSet: _candidate_set,
    UserErasure: _user_erasure,
    LiveSegment: _live_segment,
    LiveListeners: _live_listeners,
    Generation: _generation,
    GenerationReport: _generation_report,
}
