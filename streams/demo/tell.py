"""What a person sees of the demo: a listener's state, SIDs that share a beginning, and a candidate list with titles."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sidestream.models.records import CatalogItem, ItemSids
from sidestream.streams.demo.ledger import Answered, Ledger

MAX_ROWS = 10
_WHOLE = {"when": 16, "SID": 11, "rank": 4, "heard": 5, "familiar": 8, "score": 7, "log prob": 8, "kind": 9}


def choose_answer(ledger: Ledger) -> Answered | None:
    """Choose an answer worth showing: by the model, with familiar, unfamiliar and new items in it.

    Args:
        ledger: All answers.

    Returns:
        The answer, None where there is none.
    """

    def worth(found: Answered) -> tuple[int, int, int]:
        candidates = found.answer.candidates[:MAX_ROWS]
        kinds = {c.familiar for c in candidates}
        reserved = any(c.reserved for c in found.answer.candidates)
        return (found.answer.fallback is None, len(kinds) + reserved, found.start.at)

    return max(ledger.answered.values(), key=worth, default=None)


def tell_state(console: Console, ledger: Ledger, user_id: str, state: Mapping[str, Any]) -> None:
    """Show a listener's table of recent SIDs.

    Args:
        console: Where to.
        ledger: Knows the titles.
        user_id: Listener.
        state: As the worker describes it.
    """
    history: Sequence[Mapping[str, Any]] = state.get("history", [])
    console.print(
        f"\n[bold]State of {escape(user_id)}[/bold]: the latest of {len(history)} listens, with the SIDs they had"
    )
    table = _table("when", "SID", "item", "by", "heard")
    for entry in history[:MAX_ROWS]:
        item = ledger.item(entry.get("item_id") or "")
        share = entry.get("share")
        heard = "" if share is None else f"{share:.0%}"
        _add(table, _time(entry["at"]), entry.get("sid") or "unknown", _title(item), _by(item), heard)
    console.print(table)


def tell_sids(console: Console, sids: Sequence[ItemSids], tokenizer_version: str, like: str | None) -> None:
    """Show how SIDs place items: neighbours that share the first code.

    Args:
        console: Where to.
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
    console.print(
        f"\n[bold]SIDs[/bold]: {len(known):,} items; those nearest to [italic]{escape(chosen.title)}[/italic]"
    )
    table = _table("SID", "item", "by", "kind", "tags")
    for found in near[:MAX_ROWS]:
        sid = "-".join(map(str, found.versions[tokenizer_version].sid))
        _add(table, sid, found.title, found.show or found.creator or "", found.kind, ", ".join(found.tags[:4]))
    console.print(table)


def tell_answer(console: Console, ledger: Ledger, found: Answered) -> None:
    """Show one candidate list with titles.

    Args:
        console: Where to.
        ledger: Knows the titles.
        found: The answer.
    """
    answer = found.answer
    origin = f"fallback: {answer.fallback.reason}" if answer.fallback else f"model {answer.model_version}"
    console.print(
        f"\n[bold]Candidates for {escape(answer.user_id)}[/bold], session {escape(answer.session_id)} "
        f"(discovery {answer.discovery}, {origin}, {found.delay_ms:.1f} ms)"
    )
    table = _table("rank", "SID", "item", "by", "familiar", "score", "log prob")
    last = [c for c in answer.candidates[MAX_ROWS:] if c.reserved]
    for c in (*answer.candidates[:MAX_ROWS], *last):
        item = ledger.item(c.item_id)
        origin = "reserved for new" if c.reserved else ("yes" if c.familiar else "no")
        log_prob = "" if c.log_prob is None else f"{c.log_prob:.2f}"
        _add(table, str(c.rank), c.sid, _title(item), _by(item), origin, f"{c.score:.2f}", log_prob)
    console.print(table)
    console.print("  time per step, ms: " + ", ".join(f"{k} {v:g}" for k, v in answer.timings_ms.items()))


def _table(*heads: str) -> Table:
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        # A narrow window may cost titles some letters, never SIDs, ranks or scores.
        table.add_column(head, no_wrap=True, overflow="ellipsis", max_width=34, min_width=_WHOLE.get(head))
    return table


def _add(table: Table, *cells: str) -> None:
    # As `Text`: a title with brackets is no markup.
    table.add_row(*map(Text, cells))


def _shared(sid: Sequence[int], own: Sequence[int]) -> int:
    for level, (code, other) in enumerate(zip(sid, own, strict=True)):
        if code != other:
            return level
    return len(own)


def _title(item: CatalogItem | None) -> str:
    return item.title if item else "?"


def _by(item: CatalogItem | None) -> str:
    return (item.show or item.creator or "") if item else ""


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000, UTC).strftime("%Y-%m-%d %H:%M")
