"""Published files of Amazon 2018 Office: item texts, and windows of histories with their next item.

`item.json` has title, description and brand by item number; `valid.csv` and `test.csv` have one window per row: up to
10 items of a listener, and the next one. Rows are in order of time, and each row of a listener continues the previous
one: together they give the whole sequences, which is checked row by row.
"""

import ast
import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sidestream.models.data.importers.csv_rows import CsvRows
from sidestream.models.data.importers.lines import line_error, open_source
from sidestream.models.errors import DataError

_COLUMNS = ("user_id", "history_item_id", "item_id")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class ItemWords:
    """Text of one item."""

    title: str
    brand: str
    description: str


@dataclass(frozen=True, slots=True)
class Window:
    """One row: a listener's items, oldest first, and the next item."""

    line: int
    user: str
    history: tuple[int, ...]
    target: int


def read_items(path: Path) -> dict[int, ItemWords]:
    """Read the items' texts, without markup.

    Args:
        path: `item.json`.

    Returns:
        Texts by item number, in order of the numbers.

    Raises:
        DataError: The file is missing, empty, or not JSON of this form.
    """
    try:
        with open_source(path) as stream:
            table = json.loads(stream.read())
    except ValueError as error:
        msg = f"{path}: expected a readable JSON file, got {error}; point the import at the published files"
        raise DataError(msg) from error
    if not isinstance(table, dict) or not table:
        msg = f"{path}: expected an object of items by number, got {str(table)[:80]!r}; restore the published file"
        raise DataError(msg)
    items = {_item_number(path, key): _words(path, key, value) for key, value in table.items()}
    return dict(sorted(items.items()))


def read_windows(path: Path, items: Mapping[int, ItemWords]) -> Iterator[Window]:
    """Read the windows of one file.

    Args:
        path: `valid.csv` or `test.csv`.
        items: The items that a window may contain.

    Yields:
        Windows in file order.

    Raises:
        DataError: The file is missing, or a row has no user, no history, or an unknown item.
    """
    rows = CsvRows(path, delimiter=",")
    for line, fields, fault in rows:
        if missing := [name for name in _COLUMNS if name not in rows.columns]:
            raise line_error(path, 1, f"a column {missing[0]}", ",".join(rows.columns)[:80])
        if fault is not None:
            raise line_error(path, line, fault.removeprefix("expected "), ",".join(fields)[:80])
        yield _window(path, line, dict(zip(rows.columns, fields, strict=True)), items)


def plain_text(text: str) -> str:
    """Remove markup from a published text: comments, tags, entities, runs of spaces."""
    return " ".join(html.unescape(_TAG.sub(" ", _COMMENT.sub(" ", text))).split())


def _words(path: Path, key: str, value: object) -> ItemWords:
    fields = [value.get(name) for name in ("title", "brand", "description")] if isinstance(value, dict) else [None]
    if not all(isinstance(text, str) for text in fields):
        msg = (
            f"{path}: expected title, brand and description as texts for item {key!r}, got {str(value)[:80]!r}; "
            "restore the published file"
        )
        raise DataError(msg)
    title, brand, description = map(str, fields)
    return ItemWords(plain_text(title), plain_text(brand), plain_text(_paragraphs(description)))


def _paragraphs(description: str) -> str:
    # Published as the text of a Python list; a few have unbalanced quotes.
    try:
        parts = ast.literal_eval(description.strip() or "[]")
    except (SyntaxError, ValueError):
        text = description.strip().removeprefix("[").removesuffix("]").strip("'\"")
        return text.replace("\\n", " ").replace("\\'", "'")
    return " ".join(map(str, parts)) if isinstance(parts, list) else description


def _window(path: Path, line: int, row: Mapping[str, str | None], items: Mapping[int, ItemWords]) -> Window:
    user, history, target = (row[name] or "" for name in _COLUMNS)
    if not user.strip():
        raise line_error(path, line, "a user_id", user[:80])
    try:
        had = json.loads(history)
        following = int(target)
    except ValueError as error:
        raise line_error(path, line, "history_item_id as a list and item_id as a number", history[:80]) from error
    if not isinstance(had, list) or not had or not all(type(item) is int for item in had):
        raise line_error(path, line, "at least one item number in history_item_id", history[:80])
    if unknown := [item for item in (*had, following) if item not in items]:
        raise line_error(path, line, "items of item.json", unknown[0])
    return Window(line, user.strip(), tuple(had), following)


def _item_number(path: Path, key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) <= _MAX_DIGITS):
        msg = f"{path}: expected item numbers as keys, got {key[:80]!r}; restore the published file"
        raise DataError(msg)
    return int(key)
