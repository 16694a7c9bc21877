"""Every view of the command line, drawn of one text in all places where a record could put it."""

import json
import logging
import sys
from collections.abc import Callable

from sidestream.models.records import Candidate, CandidateSet, Fallback, GenerationReport
from sidestream.streams.cli.output import fail, live_table, print_facts, print_rows, print_text, say
from sidestream.streams.cli.records import live_items
from sidestream.streams.cli.serving import config, topics
from sidestream.streams.cli.tokenizers import generations
from sidestream.streams.cli.training.models import print_evaluation
from sidestream.streams.cli.views.candidates import print_answer
from sidestream.streams.cli.views.letters import letter_row, print_letter, print_letters
from sidestream.streams.cli.views.state import print_state
from sidestream.streams.cli.views.tail import view_of
from sidestream.streams.contracts.deadletters import dead_letter
from sidestream.streams.errors import BadRecord
from sidestream.streams.generations.orders import Orders
from sidestream.streams.kafka.tail import TopicRecord
from sidestream.streams.operate.deadletters import Letter, Place, Source
from sidestream.streams.operate.deadletters.letter import REPLAYED_HEADER
from sidestream.streams.runtime.logs.log import get_log, set_up_logging
from sidestream.streams.runtime.logs.settings import LogSettings

AT = 1_796_045_950_471
TOPICS = (
    "listen-events.v1",
    "session-starts.v1",
    "candidates.v1",
    "catalog-items.v1",
    "item-sids.v1",
    "user-erasures.v1",
    "live-segments.v1",
    "live-listeners.v1",
    "live-states.v1",
    "generations.v1",
    "generation-reports.v1",
    "item-counts.v1",
    "item-count-changes.v1",
    "item-count-totals.v1",
    "user-state-changelog.v1",
    "listen-events.v1.dlq",
    "somebody-elses.topic",
)
Draw = Callable[[str], None]


def values(text: str) -> dict[str, dict]:
    """Values of all JSON topics, with the text as every id and in every free field."""
    item = {"item_id": text, "kind": text, "title": text, "creator": text, "show": text, "tags": [text, text]}
    return {
        "listen-events.v1": {"user_id": text, "item_id": text, "signal": text, "listened_ms": 5, "duration_ms": 9},
        "session-starts.v1": {"user_id": text, "session_id": text, "market": text, "languages": [text]},
        "candidates.v1": {
            "user_id": text,
            "session_id": text,
            "candidates": [{"item_id": text}, {"item_id": "b"}, {"item_id": text}, {"item_id": "d"}],
            "fallback": {"reason": text},
            "timings_ms": {"total": 12.3456},
        },
        "catalog-items.v1": item,
        "item-sids.v1": item | {"versions": {text: {"sid": [1, 22, 333]}}, "revision": 3},
        "user-erasures.v1": {"user_id": text, "erasure_id": text, "at": AT},
        "live-segments.v1": {"item_id": text, "start_ms": 0, "end_ms": 1_500, "text": text},
        "live-listeners.v1": {"item_id": text, "partition": 3, "means": {text: {"weight": 12.5}}},
        "generations.v1": {"version": text, "phase": text, "pair": text},
        "generation-reports.v1": {"worker": text, "version": text, "progress": text, "serving": text, "detail": text},
        "somebody-elses.topic": {text: text},
    }


def records(topic: str, text: str) -> list[TopicRecord]:
    """Records of a topic: one of its contract, a removal, two that fit no contract, and one without a key."""
    raw = text.encode(errors="surrogatepass")
    value = json.dumps(values(text).get(topic, {text: text})).encode()
    headers: tuple[tuple[str, bytes], ...] = ()
    if topic.endswith(".dlq"):
        source = TopicRecord(3, 10**12, AT, raw, value, ())
        named = type("Source", (), {name: getattr(source, name) for name in source.__slots__})
        named.topic = text
        headers = tuple(dead_letter(named, BadRecord(text, text)).headers)
    return [
        TopicRecord(3, 1_234_567_890, AT, raw, value, headers),
        TopicRecord(0, 1, AT, raw, None, headers),
        TopicRecord(0, 2, -1, raw, raw + b"\xff\x00", headers),
        TopicRecord(0, 3, AT, raw, json.dumps([text]).encode(), ()),
        TopicRecord(0, 4, AT, None, json.dumps({"item_id": [text], "versions": text}).encode(), ()),
        TopicRecord(0, 5, AT, None, b'{"offsets": [1, 2]}', ((REPLAYED_HEADER, b"1"),)),
    ]


def letter(text: str, value: bytes | None = None) -> Letter:
    """A dead letter all of whose texts are the text."""
    raw = text.encode(errors="surrogatepass")
    return Letter(
        Place(text, 3, 10**9),
        AT,
        Source(text, 3, 10**9, AT),
        text,
        text,
        f"{text} {text}",
        raw,
        raw if value is None else value,
        ((text, raw), ("empty", b"")),
        {"value": 3},
    )


def _tail(topic: str) -> Draw:
    def draw(text: str) -> None:
        view = view_of(topic)
        table = live_table(view.columns)
        for record in records(topic, text):
            table.add(view.row(record, {text: text}))

    return draw


def _answer(text: str) -> None:
    candidate = Candidate.model_construct(
        item_id=text, sid=text, rank=0, score=-2.5, log_prob=None, familiar=True, reserved="new"
    )
    answer = CandidateSet.model_construct(
        candidates=(candidate, candidate),
        fallback=Fallback.model_construct(reason=text),
        model_version=text,
        timings_ms={"total": 1.0},
        listens_missing=3,
    )
    print_answer(answer, {text: text}, as_json=False)


def _state(text: str) -> None:
    entry = {"item_id": text, "title": text, "at": AT, "sid": text, "share": 0.5, "signal": text}
    facts = {"listens_folded": 42, "erased_at": None, "tokenizer_versions": [text, text]}
    state = {**facts, "watermarks": {text: 3}, "recent_event_ids": [text] * 50}
    unknown = entry | {"item_id": None, "item_key": "0f", "sid": None, "share": None}
    print_state({**state, "history": [entry | {"tokenizer_version": text}, unknown]}, as_json=False)


def _generations(text: str) -> None:
    orders = Orders()
    report = GenerationReport.model_construct(version=text, worker=text, serving=text, progress="ready", at=AT)
    orders._reports["worker"] = report
    orders.workers = lambda: {text: report}  # type: ignore[method-assign]
    rows = generations.generation_rows(orders, 4)
    assert len(rows) == 1
    print_rows([*rows, {**rows[0], "pair": text, "phase": text, "at": AT}], generations.COLUMNS, as_json=False)


def _evaluation(text: str) -> None:
    cell = {"value": 0.1234, "standard_error": 0.01}
    metrics = {"recall_at_10": cell, "recall_at_30": cell, "ndcg_at_10": cell}
    ranker = {"plain": metrics, "seen_excluded": metrics}
    print_evaluation({"rankers": {text: ranker}, "num_repeats": 7, "num_listeners": 3, "protocol": text})


def _log(text: str) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logging(LogSettings(format="text"), sys.stdout)
        get_log(text).info(text, user_id=text, parts=[text])
        logging.getLogger("aiokafka.consumer").warning("%s", text)
        try:
            raise ValueError(text)
        except ValueError:
            logging.getLogger("x").exception("failed")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


ITEM = {"item": "", "title": "", "sid": "1-2-3", "changes": 3, "last_hour": 1, "listens": 1.5, "window_segments": 2}
TABLES: dict[str, Draw] = {
    **{f"tail {topic}": _tail(topic) for topic in TOPICS},
    "dlq list": lambda text: print_letters(
        [{**letter_row(letter(text)), "replayed": True}, {**letter_row(letter("b")), "replayed": False}], as_json=False
    ),
    "dlq list, none": lambda text: print_letters([], as_json=False),
    "dlq replay --dry-run": lambda text: print_letters(
        [letter_row(letter(text))] * 2, as_json=False, with_replayed=False
    ),
    "dlq show": lambda text: print_letter(letter(text), as_json=False),
    "dlq show, no headers": lambda text: print_letter(
        Letter(Place(text, 0, 0), AT, None, "foreign", "", text, None, None, ()), as_json=False
    ),
    "state get": _state,
    "state get, no listens": lambda text: print_state({"user_id": text, "history": []}, as_json=False),
    "send --wait": _answer,
    "tokenizer generations": _generations,
    "evaluate": _evaluation,
    "live": lambda text: print_rows(
        [ITEM | {"item": text, "title": text, "heard_at": "2026-11-30 13:39:10", "revision": 7}] * 2,
        live_items.COLUMNS,
        as_json=False,
    ),
    "live, none": lambda text: print_rows([], live_items.COLUMNS, as_json=False),
    "topics list": lambda text: print_rows(
        [
            {"topic": text, "key": text, "partitions": 8, "compacted": True, "found_policy": "missing"},
            {"topic": "t", "key": "user_id", "partitions": 8, "found_partitions": 12, "found_policy": text},
        ],
        topics.COLUMNS,
        as_json=False,
    ),
    "topics check": lambda text: print_rows(
        [{"topic": text, "code": "missing", "detail": text, "action": text}] * 2,
        topics.PROBLEM_COLUMNS,
        as_json=False,
        as_blocks=True,
    ),
    "config show": lambda text: print_rows(
        [{"setting": "kafka.bootstrap", "value": text, "source": text}] * 2, config.COLUMNS, as_json=False
    ),
    "broker status": lambda text: print_facts(
        {"is_running": False, "kind": None, "bootstrap": text, "data_dir": text, "list": [text, 3]}, as_json=False
    ),
    "by name alone": lambda text: print_rows(
        [{"": text, "old": text, "new": 1.5, "at": AT}] * 2, ["", "old", "new"], as_json=False
    ),
    "text": print_text,
}
LINES: dict[str, Draw] = {
    "say": say,
    "error": fail,
    "log": _log,
}
