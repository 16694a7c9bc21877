"""One answer for people: its candidates with titles, and where they came from."""

from collections.abc import Mapping

from sidestream.models.data.quantities import quantity
from sidestream.models.records import CandidateSet
from sidestream.streams.cli.output import print_json, print_rows, say
from sidestream.streams.terminal import Column
from sidestream.streams.terminal.wording import familiar

COLUMNS = (
    Column("rank", kind="number", priority=6),
    # Imported ids have some 30 characters: whole on a narrow terminal, they would leave no room for the rest.
    Column("item_id", kind="id", priority=0, least=16),
    Column("title", priority=2, least=10),
    Column("sid", priority=3, least=9),
    Column("score", kind="number", priority=4),
    Column("familiar", priority=5),
)


def print_answer(answer: CandidateSet, titles: Mapping[str, str], *, as_json: bool) -> None:
    """Print one answer.

    Args:
        answer: The candidates of one session-start.
        titles: Titles by item id, as far as they are known.
        as_json: Print JSON.
    """
    if as_json:
        print_json(answer.model_dump(mode="json", exclude_none=True))
        return
    rows = [
        {**c.model_dump(mode="json"), "title": titles.get(c.item_id), "familiar": familiar(c.familiar, c.reserved)}
        for c in answer.candidates
    ]
    print_rows(rows, COLUMNS, as_json=False)
    origin = f"fallback: {answer.fallback.reason}" if answer.fallback else f"model {answer.model_version}"
    total_ms = answer.timings_ms.get("total")
    say(origin if total_ms is None else f"{origin}, {total_ms:.1f} ms")
    if (missing := answer.listens_missing) is not None:
        say(f"not folded yet: {quantity(missing, 'listen')} of this partition")
