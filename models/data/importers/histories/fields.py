"""Mapping of columns or JSON paths to the fields of plays and items, given or detected by common names."""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from sidestream.models.data.importers.histories.time_texts import read_text
from sidestream.models.data.importers.shown import MAX_CHARS, shown
from sidestream.models.errors import DataError

Field = Literal[
    "user",
    "item",
    "at",
    "title",
    "creator",
    "show",
    "kind",
    "tags",
    "language",
    "explicit",
    "description",
    "published",
    "duration",
    "listened",
    "signal",
    "surface",
    "device",
    "session",
    "event",
]
FIELDS: tuple[Field, ...] = get_args(Field)

# Common names of a field, tried in this order if no column is given for it.
USUAL_NAMES: Mapping[Field, tuple[str, ...]] = {
    "user": ("user", "user_id", "userId", "user_name", "username", "listener", "account"),
    "item": ("item", "item_id", "itemId", "track_id", "trackId", "song_id", "episode_id", "uri"),
    "at": (
        "at",
        "timestamp",
        "ts",
        "uts",
        "time",
        "played_at",
        "listened_at",
        "date",
        "datetime",
        "started_at",
        "start_time",
        "ended_at",
        "end_time",
        "endTime",
        "utc_time",
    ),
    "title": ("title", "track_name", "trackName", "track", "song", "name", "episode_name"),
    "creator": ("creator", "artist", "artist_name", "artistName", "artists", "author", "channel"),
    "show": ("show", "album", "album_name", "release_name", "podcast", "show_name", "series"),
    "kind": ("kind",),
    "tags": ("tags", "genres", "genre"),
    "language": ("language",),
    "explicit": ("explicit",),
    "description": ("description",),
    "published": ("published_at", "release_date"),
    "duration": ("duration", "duration_ms", "duration_s", "length"),
    "listened": ("listened", "listened_ms", "ms_played", "msPlayed", "play_time"),
    "signal": ("signal", "event_type", "action"),
    "surface": ("surface",),
    "device": ("device", "platform"),
    "session": ("session", "session_id"),
    "event": ("event_id",),
}
# Words of tables that mean no value: those that pandas reads as such, `\N` of MySQL and PostgreSQL, and a dash.
MISSING_WORDS = frozenset({
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null", "\\N", "-",
})  # fmt: skip
# Names of `at` that say that it is the start of a play.
STARTS = frozenset({"started_at", "start_time"})
# Columns that an error lists.
MAX_SHOWN = 20
# Fields of plays only, and fields of items only.
OF_PLAYS: tuple[Field, ...] = ("user", "at", "listened", "signal", "surface", "device", "session", "event")
_NUMBER = re.compile(r"\d+(\.\d*)?")
_NAMED_UNITS = {"duration_ms": "ms", "listened_ms": "ms", "ms_played": "ms", "msPlayed": "ms", "duration_s": "s"}


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Columns or paths of the fields of a row.

    Attributes:
        paths: Column or JSON path by field; parts are separated by dots, list indices are numbers: `artists.0.name`.
        constants: Default values by field.
        missing: Words that mean no value, as an empty text does.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    missing: Set[str] = frozenset()

    @classmethod
    def parse(cls, paths: Sequence[str], constants: Sequence[str]) -> "FieldMap":
        """Parse command line options.

        Args:
            paths: Each `field=path`.
            constants: Each `field=value`.

        Returns:
            The map.

        Raises:
            DataError: An option has no `=`, an unknown field, or a repeated field.
        """
        return cls(_assignments("--map", paths), _assignments("--constant", constants))

    def completed(self, row: Mapping[str, Any]) -> "FieldMap":
        """Add the fields that a row has under a common name.

        Args:
            row: The first row.

        Returns:
            The map.

        Raises:
            DataError: The first part of a given path is not in the row, so it is probably misspelt.
        """
        paths = dict(self.paths)
        for name, path in paths.items():
            if path not in row and path.split(".")[0] not in row:
                msg = f"--map {name}={path}: expected a column or path of the first row, which has {columns_of(row)}"
                raise DataError(msg)
        used = set(paths.values())
        for name, usual in USUAL_NAMES.items():
            if name not in paths and name not in self.constants:
                # An object under such a name has the field somewhere inside: a path must be given.
                found = next(
                    (
                        column
                        for column in usual
                        if column in row and column not in used and not isinstance(row[column], Mapping)
                    ),
                    None,
                )
                if found is not None:
                    paths[name] = found
                    used.add(found)
        return replace(self, paths=paths)

    def value(self, row: Mapping[str, Any], name: Field) -> Any:
        """Extract a field from a row.

        Args:
            row: The row.
            name: The field.

        Returns:
            Its value, else its default value, else None.
        """
        found = self.given(row, name)
        is_missing = found is None or (isinstance(found, str) and (not found or found.strip() in self.missing))
        return self.constants.get(name) if is_missing else found

    def given(self, row: Mapping[str, Any], name: Field) -> Any:
        """Extract a field as it is in the row, also a word that means no value."""
        path = self.paths.get(name)
        return None if path is None else at_path(row, path)

    def absence(self, row: Mapping[str, Any], name: Field) -> str:
        """Say for a message what a row has instead of a field."""
        found = self.given(row, name)
        is_word = isinstance(found, str) and found.strip() in self.missing
        return f"{shown(found)}, a word for no value (--missing says which are)" if is_word else "none"

    def unit_named(self, name: Field) -> str | None:
        """Return the unit in the name of the duration's column, such as `duration_ms`."""
        return _NAMED_UNITS.get(self.paths.get(name, "").split(".")[-1])


def columns_of(row: Mapping[str, Any]) -> str:
    """List the columns of a row for a message about one that it lacks.

    Args:
        row: The row.

    Returns:
        The columns, and what to do if they are none: the first row of a table without a header, or an object around
        the rows.
    """
    listed = ", ".join(str(column)[:MAX_CHARS] for column in list(row)[:MAX_SHOWN])
    if any(read_text(str(column)) is not None or _NUMBER.fullmatch(str(column)) for column in row):
        return (
            f"{listed}: a row and no names, if the file has no header; name the columns, as --columns user,item,at does"
        )
    lists = (name for name, value in row.items() if isinstance(value, list) and len(value) > len(row))
    if (inner := next((name for name in lists if isinstance(row[name][0], Mapping)), None)) is not None:
        return f"{listed}; the rows are inside {inner}: write them to a file, as `jq -c '.{inner}[]' FILE` does"
    return listed


def at_path(row: Any, path: str) -> Any:
    """Follow a path.

    Args:
        row: A JSON value.
        path: Names and list indices separated by dots; keys that contain dots are also found.

    Returns:
        The value; None if missing.
    """
    if isinstance(row, Mapping) and path in row:
        return row[path]
    head, _, rest = path.partition(".")
    if isinstance(row, Mapping):
        inner = row.get(head)
    elif isinstance(row, list) and head.isdecimal() and int(head) < len(row):
        inner = row[int(head)]
    else:
        return None
    return at_path(inner, rest) if rest else inner


def as_text(value: Any) -> str:
    """Convert a value to the text of an id, a title or a name.

    Args:
        value: A JSON value; texts in a list are joined.

    Returns:
        The text, without spaces around it; empty for none.

    Raises:
        ValueError: It is neither text nor a number.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (bool, Mapping)):
        msg = f"expected a text, got {shown(value)}"
        raise ValueError(msg)
    if isinstance(value, list):
        return ", ".join(text for part in value if (text := as_text(part)))
    # Ids that were stored in a float column end in .0
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def as_tags(value: Any, separator: str) -> tuple[str, ...]:
    """Convert a value to tags.

    Args:
        value: A list of texts, or one text.
        separator: Separator of tags in one text.

    Returns:
        Distinct tags.

    Raises:
        ValueError: A tag is not text.
    """
    parts = value if isinstance(value, list) else as_text(value).split(separator)
    return tuple(dict.fromkeys(text for part in parts if (text := as_text(part))))


def _assignments(option: str, given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for assignment in given:
        name, equals, value = assignment.partition("=")
        if not equals or not value:
            msg = f"{option} {assignment}: expected field=value, such as {option} user=account.id"
            raise DataError(msg)
        if name not in FIELDS:
            msg = f"{option} {assignment}: expected one of {', '.join(FIELDS)}, got {name!r}"
            raise DataError(msg)
        if name in found:
            msg = f"{option} {assignment}: {name} is given twice"
            raise DataError(msg)
        found[name] = value
    return found
