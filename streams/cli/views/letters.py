"""Dead letters for people: rows of a list, and one letter whole."""

import base64
from typing import Any

from sidestream.streams.cli.output import print_facts, print_json, print_rows, print_text
from sidestream.streams.contracts.decode import Reason
from sidestream.streams.contracts.guess import guess
from sidestream.streams.operate.deadletters import Letter
from sidestream.streams.terminal import Column

MAX_KEY_BYTES = 256

COLUMNS = (
    Column("letter", kind="id", priority=0),
    Column("reason", priority=1, least=13),
    Column("message", priority=2, least=24),
    Column("key", kind="id", priority=3),
    Column("died_at", kind="time", priority=4),
    Column("source", kind="id", priority=6, least=20),
    Column("attempt", kind="number", priority=5),
    Column("value_bytes", kind="number", priority=7),
    Column("replayed", priority=8),
)


def letter_row(letter: Letter) -> dict[str, Any]:
    """Put a letter into one row.

    Args:
        letter: The letter.

    Returns:
        JSON-ready values.
    """
    return {
        "letter": str(letter.place),
        "source": None if letter.source is None else str(letter.source),
        "timestamp": None if letter.source is None else letter.source.timestamp,
        "died_at": letter.died_at,
        "attempt": letter.attempt,
        "reason": letter.reason,
        "message": _message(letter),
        "key": None if letter.key is None else bytes_text(letter.key[:MAX_KEY_BYTES]),
        "value_bytes": None if letter.value is None else len(letter.value),
    }


def print_letters(rows: list[dict[str, Any]], *, as_json: bool, with_replayed: bool = True) -> None:
    """Print a list of letters: a table where it is wide enough, a block each where it is not.

    Args:
        rows: Of `letter_row`.
        as_json: Print JSON.
        with_replayed: Rows say whether they were replayed.
    """
    columns = COLUMNS if with_replayed else COLUMNS[:-1]
    if not as_json:  # the reason has a column of its own
        rows = [{**row, "message": row["message"].removeprefix(f"{row['reason']}: ")} for row in rows]
    print_rows(rows, columns, as_json=as_json, as_blocks=True)


def print_letter(letter: Letter, *, as_json: bool) -> None:
    """Print one letter whole.

    Args:
        letter: The letter.
        as_json: Print JSON.
    """
    facts = {
        **letter_row(letter),
        "exception": letter.exception,
        "cut": dict(letter.cut) or None,
        "first_offset": letter.first_offset,
        "content": letter.content,
        "obstacle": letter.obstacle,
    }
    if as_json:
        headers = [{"name": name, **_exact(value)} for name, value in letter.headers]
        print_json({**facts, "key": _exact(letter.key), "headers": headers, "value": _exact(letter.value)})
        return
    print_facts({name: value for name, value in facts.items() if value not in (None, "")}, as_json=False)
    print_text("")
    if letter.headers:
        rows = [{"header": name, "value": bytes_text(value)} for name, value in letter.headers]
        columns = [Column("header", kind="id", priority=0), Column("value", priority=0)]
        print_rows(rows, columns, as_json=False)
    else:
        print_text("headers: none")
    print_text("")
    if letter.value is None:
        print_text("value: null")
    elif not letter.value:
        print_text("value: empty")
    else:
        print_text(f"value ({len(letter.value):,} bytes):")
        print_text(bytes_text(letter.value), indent=2)


def bytes_text(raw: bytes) -> str:
    """Read bytes as text; what is no UTF-8 stays visible as escapes."""
    return raw.decode(errors="backslashreplace")


def _message(letter: Letter) -> str:
    """Return the letter's message, with what the record looks like where an older worker did not say it."""
    whole = letter.source is not None and not letter.cut and letter.obstacle != Reason.UNREADABLE
    hint = guess(letter.key, letter.value, letter.message) if whole else ""
    return f"{letter.message}; {hint}" if hint else letter.message


def _exact(raw: bytes | None) -> dict[str, Any]:
    if raw is None:
        return {"text": None, "base64": None}
    try:
        text: str | None = raw.decode()
    except UnicodeDecodeError:
        text = None
    return {"text": text, "base64": base64.b64encode(raw).decode("ascii")}
