"""Records of each topic as rows of a table that has no end: what a record says, with titles where they are known."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from sidestream.models.data.quantities import quantity
from sidestream.streams.cli.views.sayings import (
    Row,
    Say,
    Titles,
    any_row,
    candidates_row,
    erasure_row,
    generation_row,
    item_row,
    listen_row,
    listeners_row,
    report_row,
    segment_row,
    session_row,
    sids_row,
)
from sidestream.streams.contracts.topics import DEAD_LETTER_SUFFIX
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.errors import SidestreamError
from sidestream.streams.kafka.tail import TopicRecord
from sidestream.streams.operate.deadletters.letter import read_letter, read_mark
from sidestream.streams.terminal import Column


@dataclass(frozen=True, slots=True)
class TopicView:
    """How the records of one topic are shown.

    Attributes:
        columns: What is shown.
        row: Makes a row of a record and the titles that are known; never raises for what a record holds.
        wants_titles: Whether values name items by id alone.
    """

    columns: tuple[Column, ...]
    row: Callable[[TopicRecord, Titles], Row]
    wants_titles: bool = False


def view_of(topic: str) -> TopicView:
    """Choose how a topic is shown.

    Args:
        topic: Name without the installation's prefix.

    Returns:
        The view; that of key and value for a topic of no contract.
    """
    return _LETTERS if topic.endswith(DEAD_LETTER_SUFFIX) else _VIEWS.get(topic, _ANY)


def _basis(record: TopicRecord) -> Row:
    return {
        "time": record.timestamp if record.timestamp >= 0 else None,
        "key": _text(record.value.key if isinstance(record.value, Unreadable) else record.key),
        "place": f"{record.partition}:{record.offset}",
    }


def _of_json(columns: tuple[Column, ...], say: Say, *, wants_titles: bool = False) -> TopicView:
    """Show JSON values by what `say` makes of them; any other value as it came, in the widest column."""
    name = columns[1].key
    rest = next(c.key for c in columns[2:] if c.kind == "text" and c.most is None)

    def row(record: TopicRecord, titles: Titles) -> Row:
        found = _basis(record)
        if record.value is None:
            return found | {name: found["key"], rest: "(removed)"}
        if isinstance(record.value, Unreadable):
            return found | {name: found["key"], rest: f"(cannot be read: {record.value.why})"}
        try:
            value = json.loads(record.value)
            said = say(value, titles)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
            return found | {name: found["key"], rest: _text(record.value)}
        return found | said

    return TopicView(columns, row, wants_titles)


def _letter(record: TopicRecord, titles: Titles) -> Row:
    del titles
    if (offsets := read_mark(record)) is not None:
        return _basis(record) | {
            "reason": "(replayed)",
            "message": f"{quantity(len(offsets), 'dead letter')} of this partition",
        }
    letter = read_letter("", record)
    source = None if letter.source is None else str(letter.source)
    return _basis(record) | {"reason": letter.reason, "message": letter.message, "source": source}


def _live_state(record: TopicRecord, titles: Titles) -> Row:
    from sidestream.tokenizer.live import decode_state  # with numpy, which the other topics do without

    row = _size(record, titles)
    with contextlib.suppress(SidestreamError, ValueError):
        if record.value is not None:
            state = decode_state(record.value)
            row["value"] = f"revision {state.revision}, {quantity(len(state.spans), 'segment')} in its window"
    return row


def _size(record: TopicRecord, titles: Titles) -> Row:
    row = _basis(record)
    if isinstance(record.value, Unreadable):
        row["value"] = f"(cannot be read: {record.value.why})"
    else:
        row["value"] = "(removed)" if record.value is None else f"{len(record.value):,} bytes"
    return row | {"title": titles.get(row["key"])}


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode(errors="backslashreplace")


_TIME = Column("time", kind="time", priority=2, least=8, usual=19, most=19)
_PLACE = Column("place", "partition:offset", kind="id", priority=9, usual=16, most=20)
_USER = Column("user", kind="id", priority=0, usual=16, most=40, least=12)
_ITEM = Column("item", kind="id", priority=0, usual=16, most=40, least=16)
_KEY = Column("key", kind="id", priority=0, usual=20, most=60, least=10)
_TITLE = Column("title", priority=1, usual=24, least=12)
_VALUE = Column("value", priority=1, usual=40, least=16)

_ANY = _of_json((_TIME, _KEY, _VALUE, _PLACE), any_row)
_BYTES = TopicView((_TIME, _KEY, Column("value", priority=1, usual=16), _PLACE), _size)
_LETTERS = TopicView(
    (
        _TIME,
        Column("reason", priority=0, usual=13, most=13),
        Column("message", priority=1, usual=60, least=30),
        Column("key", kind="id", priority=3, usual=16, most=40),
        Column("source", kind="id", priority=4, usual=24, least=20, most=60),
        _PLACE,
    ),
    _letter,
)
_VIEWS = {
    "listen-events.v1": _of_json(
        (
            _TIME,
            _USER,
            replace(_ITEM, least=12),
            _TITLE,
            Column("signal", priority=1, usual=8, most=8),
            Column("heard", kind="number", priority=4, usual=5, most=5),
            _PLACE,
        ),
        listen_row,
        wants_titles=True,
    ),
    "session-starts.v1": _of_json(
        (
            _TIME,
            _USER,
            Column("rules", priority=3, usual=16),
            Column("session", kind="id", priority=2, usual=18, most=40),
            Column("discovery", priority=4, usual=10, most=10),
            Column("wants", kind="number", priority=5, usual=5, most=6),
            _PLACE,
        ),
        session_row,
    ),
    "candidates.v1": _of_json(
        (
            _TIME,
            _USER,
            Column("titles", "first candidates", priority=1, usual=60, least=24),
            Column("fallback", priority=3, usual=15, most=15),
            Column("count", kind="number", priority=4, usual=5, most=5),
            Column("total_ms", "ms", kind="number", priority=5, usual=8, most=10),
            Column("session", kind="id", priority=6, usual=18, most=40),
            _PLACE,
        ),
        candidates_row,
        wants_titles=True,
    ),
    "catalog-items.v1": _of_json(
        (
            _TIME,
            _ITEM,
            _TITLE,
            Column("kind", priority=4, usual=9, most=9),
            Column("by", priority=3, usual=18),
            Column("tags", priority=5, usual=20),
            _PLACE,
        ),
        item_row,
    ),
    "item-sids.v1": _of_json(
        (
            _TIME,
            _ITEM,
            _TITLE,
            Column("sid", kind="id", priority=1, usual=12, most=30, least=9),
            Column("version", kind="id", priority=3, usual=12, most=30),
            Column("kind", priority=4, usual=9, most=9),
            Column("revision", kind="number", priority=5, usual=8, most=8),
            _PLACE,
        ),
        sids_row,
    ),
    "user-erasures.v1": _of_json(
        (
            _TIME,
            _USER,
            Column("erasure", priority=3, usual=20),
            Column("until_at", "erased until", kind="time", priority=1, usual=19, most=19),
            _PLACE,
        ),
        erasure_row,
    ),
    "live-segments.v1": _of_json(
        (
            _TIME,
            _ITEM,
            _TITLE,
            Column("span", priority=4, usual=14, most=20),
            Column("text", priority=1, usual=30),
            _PLACE,
        ),
        segment_row,
        wants_titles=True,
    ),
    "live-listeners.v1": _of_json(
        (
            _TIME,
            _ITEM,
            _TITLE,
            Column("partition", kind="number", priority=4, usual=9, most=9),
            Column("listens", kind="number", priority=3, usual=10, most=10),
            _PLACE,
        ),
        listeners_row,
        wants_titles=True,
    ),
    "generations.v1": _of_json(
        (
            _TIME,
            Column("version", kind="id", priority=0, usual=12),
            Column("phase", priority=1),
            Column("pair", priority=2),
        ),
        generation_row,
    ),
    "generation-reports.v1": _of_json(
        (
            _TIME,
            Column("who", kind="id", priority=0, usual=24),
            Column("detail", priority=5, usual=20),
            Column("version", kind="id", priority=1),
            Column("progress", priority=1, usual=8, most=8),
            Column("serving", kind="id", priority=3),
            Column("missing", kind="number", priority=4, usual=7, most=8),
        ),
        report_row,
    ),
    "live-states.v1": TopicView((_TIME, _KEY, _TITLE, _VALUE, _PLACE), _live_state, wants_titles=True),
    "item-counts.v1": _BYTES,
    "item-count-changes.v1": _BYTES,
    "item-count-totals.v1": _BYTES,
    "user-state-changelog.v1": _BYTES,
}
