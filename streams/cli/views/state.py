"""A listener's state for people."""

from typing import Any

from sidestream.streams.cli.output import print_facts, print_json, print_rows, print_text
from sidestream.streams.terminal import Column
from sidestream.streams.terminal.wording import heard

COLUMNS = (
    Column("item_id", kind="id", priority=0),
    Column("title", priority=1, least=10),
    Column("at", kind="time", priority=3),
    Column("signal", priority=4),
    Column("sid", priority=2, least=9),
    Column("heard", kind="number", priority=5),
    Column("tokenizer_version", "tokenizer", priority=6),
)

# What a person asks for; JSON has all of the worker's answer, such as the ids of the last events.
FACTS = ("listens_folded", "tokenizer_versions", "erased_at")


def print_state(state: dict[str, Any], *, as_json: bool) -> None:
    """Print a state: JSON as the worker's HTTP answer has it, for people what they ask for.

    Args:
        state: The answer.
        as_json: Print JSON.
    """
    if as_json:
        print_json(state)
        return
    print_facts({name: state[name] for name in FACTS if state.get(name) is not None}, as_json=False)
    print_text("")
    rows = [
        {
            **entry,
            "item_id": entry.get("item_id") or f"key {entry.get('item_key')}",
            "sid": entry.get("sid") or "unknown",
            "heard": heard(entry.get("share")),
        }
        for entry in state.get("history", [])
    ]
    print_rows(rows, COLUMNS, as_json=False)
