"""What a person sees of the demo: a listener's state, SIDs that share a beginning, and a candidate list with titles."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sidestream.models.evaluation.report import footer, table
from sidestream.models.records import CatalogItem, ItemSids
from sidestream.streams.demo.ledger import SHOWN_CANDIDATES
from sidestream.streams.demo.listener import Seen
from sidestream.streams.demo.printing.screen import Screen
from sidestream.streams.terminal import Column
from sidestream.streams.terminal.fitting import DAY_AND_TIME
from sidestream.streams.terminal.wording import familiar, heard

MAX_ROWS = 10
ItemOf = Callable[[str], CatalogItem | None]


def tell_state(screen: Screen, item_of: ItemOf, user_id: str, state: Mapping[str, Any]) -> None:
    """Show a listener's recent listens.

    Args:
        screen: Where to.
        item_of: Knows the titles.
        user_id: Listener.
        state: As the worker describes it.
    """
    history: Sequence[Mapping[str, Any]] = state.get("history", [])
    shown = min(len(history), MAX_ROWS)
    screen.gap()
    screen.text(f"State of {user_id}: the latest {shown} of {len(history)} listens, with the SIDs they had", "bold")
    columns = (
        Column("at", "when", "time", priority=2, most=DAY_AND_TIME),
        Column("sid", "SID", "id", priority=0),
        Column("item", priority=0),
        Column("by", priority=0),
        Column("heard", priority=1),
    )
    rows = []
    for entry in history[:MAX_ROWS]:
        title, by = _names(item_of, entry.get("item_id") or "")
        sid = entry.get("sid") or "unknown"
        rows.append({"at": entry["at"], "sid": sid, "item": title, "by": by, "heard": heard(entry.get("share"))})
    screen.table(columns, rows)


def tell_sids(screen: Screen, sids: Sequence[ItemSids], tokenizer_version: str, like: str | None) -> None:
    """Show how SIDs place items: neighbours that share the first code.

    Args:
        screen: Where to.
        sids: The whole topic, latest value of each item.
        tokenizer_version: Version to show.
        like: Item whose neighbourhood is shown; by default the one that was published last.
    """
    known = {s.item_id: s for s in sids if tokenizer_version in s.versions}
    if not known:
        return
    newest = max(known.values(), key=lambda s: (s.published_at or 0, s.source_offset))
    chosen = known.get(like or "", newest)
    first = defaultdict(list)
    for found in known.values():
        first[found.versions[tokenizer_version].sid[0]].append(found)
    own = chosen.versions[tokenizer_version].sid
    near = sorted(first[own[0]], key=lambda s: (-_shared(s.versions[tokenizer_version].sid, own), s.item_id))
    screen.gap()
    screen.text(f"SIDs: {len(known):,} items; those nearest to {chosen.title or chosen.item_id}", "bold")
    columns = (
        Column("sid", "SID", "id", priority=0),
        Column("item", priority=0),
        Column("by", priority=0),
        Column("kind", priority=0),
        Column("tags", priority=1),
    )
    rows = [
        {
            "sid": "-".join(map(str, found.versions[tokenizer_version].sid)),
            "item": found.title or found.item_id,
            "by": found.show or found.creator or "",
            "kind": found.kind,
            "tags": ", ".join(found.tags[:4]),
        }
        for found in near[:MAX_ROWS]
    ]
    screen.table(columns, rows)


def tell_answer(screen: Screen, item_of: ItemOf, seen: Seen) -> None:
    """Show one candidate list with titles.

    Args:
        screen: Where to.
        item_of: Knows the titles.
        seen: The answer.
    """
    answer = seen.answer
    origin = f"fallback: {answer.fallback.reason}" if answer.fallback else f"model {answer.model_version}"
    screen.gap()
    screen.text(
        f"Candidates for {answer.user_id} (discovery {answer.discovery}, {origin}, "
        f"{answer.timings_ms.get('total', 0.0):.1f} ms)",
        "bold",
    )
    columns = (
        Column("rank", kind="number", priority=0),
        Column("sid", "SID", "id", priority=0),
        Column("item", priority=0),
        Column("by", priority=0),
        Column("familiar", priority=0),
        Column("score", kind="number", priority=0),
        Column("log_prob", kind="number", priority=1),
    )
    rows = []
    reserved = [c for c in answer.candidates[SHOWN_CANDIDATES:] if c.reserved]
    for c in (*answer.candidates[:SHOWN_CANDIDATES], *reserved):
        title, by = _names(item_of, c.item_id)
        row = {"rank": c.rank, "sid": c.sid, "item": title, "by": by, "familiar": familiar(c.familiar, c.reserved)}
        log_prob = "" if c.log_prob is None else f"{c.log_prob:.2f}"
        rows.append({**row, "score": f"{c.score:.2f}", "log_prob": log_prob})
    screen.table(columns, rows)
    screen.text("time per step, ms: " + ", ".join(f"{k} {v:g}" for k, v in answer.timings_ms.items()), indent=2)
    if seen.behind:
        screen.text("the worker has not folded all listens of this listener yet: familiar may lag", indent=2)


def tell_evaluation(screen: Screen, evaluation: Mapping[str, Any]) -> None:
    """Show how often the held-out next items were found.

    Args:
        screen: Where to.
        evaluation: As training wrote it.
    """
    heads, rows = table(evaluation)
    screen.gap()
    screen.text("Held-out next items", "bold")
    columns = [
        Column(head, kind="number" if place else "id", priority=max(0, place - 1)) for place, head in enumerate(heads)
    ]
    screen.table(columns, [dict(zip(heads, row, strict=True)) for row in rows], indent=2)
    screen.text(footer(evaluation), indent=2)
    screen.text("generator is what serves; dense_head scores every item, no SIDs", indent=2)


def _shared(sid: Sequence[int], own: Sequence[int]) -> int:
    for level, (code, other) in enumerate(zip(sid, own, strict=True)):
        if code != other:
            return level
    return len(own)


def _names(item_of: ItemOf, item_id: str) -> tuple[str, str]:
    item = item_of(item_id)
    if item is None:
        return item_id or "?", ""
    return item.title or item_id, item.show or item.creator or ""
