"""What the value of each topic says, as one row: pure functions of decoded JSON and of titles by item id.

A field that is missing or of another type raises `KeyError` or `TypeError`; whoever asks shows the value as it came.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from sidestream.streams.terminal.wording import heard
from sidestream.tokenizer.sid import format_sid

Titles = Mapping[str, str]
Row = dict[str, Any]
Say = Callable[[Row, Titles], Row]

FIRST_CANDIDATES = 3


def listen_row(value: Row, titles: Titles) -> Row:
    """Say what a listen holds."""
    listened, duration = value.get("listened_ms"), value.get("duration_ms")
    share = listened / duration if listened is not None and duration else None
    item = value["item_id"]
    return {
        "user": value["user_id"],
        "item": item,
        "title": titles.get(item),
        "signal": value.get("signal") or "listen",
        "heard": heard(share),
        "at": value.get("at"),
    }


def session_row(value: Row, _: Titles) -> Row:
    """Say what a session-start holds."""
    rules = ("market", "languages", "kinds", "allow_explicit", "live_now")
    return {
        "user": value["user_id"],
        "session": value["session_id"],
        "wants": value.get("num_candidates") or 30,
        "discovery": value.get("discovery") or "any",
        "rules": {name: value[name] for name in rules if value.get(name) not in (None, [])} or None,
    }


def candidates_row(value: Row, titles: Titles) -> Row:
    """Say what an answer: its first candidates by title holds."""
    found = value["candidates"]
    fallback = value.get("fallback")
    first = [titles.get(c["item_id"]) or c["item_id"] for c in found[:FIRST_CANDIDATES]]
    return {
        "user": value["user_id"],
        "titles": " · ".join(first) + (" …" if len(found) > FIRST_CANDIDATES else ""),
        "count": len(found),
        "fallback": None if fallback is None else fallback["reason"],
        "total_ms": (value.get("timings_ms") or {}).get("total"),
        "session": value.get("session_id"),
    }


def item_row(value: Row, _: Titles) -> Row:
    """Say what a catalogue item holds."""
    return {
        "item": value["item_id"],
        "title": value.get("title"),
        "kind": value.get("kind"),
        "by": value.get("show") or value.get("creator"),
        "tags": value.get("tags"),
    }


def sids_row(value: Row, _: Titles) -> Row:
    """Say what an item's SIDs holds."""
    versions = value["versions"]
    return {
        "item": value["item_id"],
        "title": value.get("title"),
        "sid": ", ".join(format_sid(item["sid"]) for item in versions.values()),
        "version": ", ".join(versions),
        "revision": value.get("revision"),
        "kind": value.get("kind"),
    }


def erasure_row(value: Row, _: Titles) -> Row:
    """Say what an erasure holds."""
    return {"user": value["user_id"], "until_at": value["at"], "erasure": value.get("erasure_id")}


def segment_row(value: Row, titles: Titles) -> Row:
    """Say what a live segment holds."""
    span = f"{value['start_ms'] / 1e3:g}-{value['end_ms'] / 1e3:g} s"
    return {"item": value["item_id"], "title": titles.get(value["item_id"]), "span": span, "text": value.get("text")}


def listeners_row(value: Row, titles: Titles) -> Row:
    """Say what what is known of a live item's listeners holds."""
    weights = [mean["weight"] for mean in value["means"].values()]
    return {
        "item": value["item_id"],
        "title": titles.get(value["item_id"]),
        "partition": value["partition"],
        "listens": round(max(weights, default=0.0), 1),
    }


def generation_row(value: Row, _: Titles) -> Row:
    """Say what an order of a tokenizer version holds."""
    return {"version": value["version"], "phase": value["phase"], "pair": value.get("pair")}


def report_row(value: Row, _: Titles) -> Row:
    """Say what a worker's or partition's report holds."""
    who = value.get("worker") or f"partition {value.get('partition')}"
    names = ("version", "progress", "serving", "missing", "detail")
    return {"who": who, **{name: value.get(name) for name in names}}


def any_row(value: Row, _: Titles) -> Row:
    """Say what any JSON value holds."""
    return {"value": json.dumps(value, ensure_ascii=False)}
