"""Importer of any JSON or CSV file of plays, with a mapping of fields, and units that are given or detected."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, cast, get_args

import msgspec
from pydantic import JsonValue

from sidestream.models.data.importers.csv_rows import CsvRows, row_fault
from sidestream.models.data.importers.histories.fields import OF_PLAYS, Field, FieldMap, as_text
from sidestream.models.data.importers.histories.run import HistoryFacts
from sidestream.models.data.importers.histories.units import (
    check_at_unit,
    duration_unit,
    guess_at_unit,
    read_at,
    read_duration_ms,
    require_at,
)
from sidestream.models.data.importers.histories.words import item_words
from sidestream.models.data.importers.json_values import read_json
from sidestream.models.data.importers.lines import source_of
from sidestream.models.data.plays import Items, Play, RowReport, Words
from sidestream.models.data.plays.items import fits_id
from sidestream.models.errors import DataError
from sidestream.models.records import Signal
from sidestream.models.records.times import LATEST_AT

FileFormat = Literal["jsonl", "csv"]
Moment = Literal["start", "end"]
# Rows from which units are detected.
SAMPLE_ROWS = 1_000
DURATIONS: tuple[Field, ...] = ("duration", "listened")
_decode = msgspec.json.Decoder().decode

Numbered = tuple[int, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class MappedOptions:
    """Options of an import.

    Attributes:
        fields: Mapping of the fields of a play.
        items_file: A file with the items, of the same format; None if the plays have all item data.
        item_fields: Mapping of the fields of an item in that file.
        at_unit: Unit of times.
        at_is: Whether a time is the start or the end of a play.
        duration_unit: Unit of durations and listened times.
        signals: Signal by the word in the file; words that are valid signals need no entry.
        tags_separator: Separator of tags in one text.
        columns: Names of the columns of a CSV file without a header.
        delimiter: Delimiter of a CSV file; None detects it.
        user: The listener if rows have none.
    """

    fields: FieldMap = field(default_factory=FieldMap)
    items_file: Path | None = None
    item_fields: FieldMap = field(default_factory=FieldMap)
    at_unit: str = "auto"
    at_is: Moment = "end"
    duration_unit: str = "auto"
    signals: Mapping[str, str] = field(default_factory=dict)
    tags_separator: str = "|"
    columns: tuple[str, ...] = ()
    delimiter: str | None = None
    user: str | None = None


class MappedHistory:
    """Plays of a JSON or CSV file.

    Args:
        path: The file; `-` for standard input.
        file_format: Format of the file.
        options: Options of the import.

    Raises:
        DataError: A mapped signal is unknown.
    """

    def __init__(self, path: Path | str, file_format: FileFormat, options: MappedOptions | None = None) -> None:
        self._name = source_of(path).name
        self._path = path
        self._format = file_format
        self._options = options or MappedOptions()
        self._fields = self._options.fields
        self._at_unit = self._options.at_unit
        self._units: dict[Field, str] = {}
        self._notes: list[str] = []
        self._known_items: int | None = None
        if unknown := next((ours for ours in self._options.signals.values() if ours not in get_args(Signal)), None):
            msg = f"--signal …={unknown}: expected one of {', '.join(get_args(Signal))}, got {unknown!r}"
            raise DataError(msg)

    def plays(self, items: Items, report: RowReport, latest_at: int) -> Iterator[Play]:
        """Read the plays; see `History`."""
        if self._options.items_file is not None:
            self._read_items(self._options.items_file, items, report)
            self._known_items = len(items)
        rows = self._rows(self._path, self._options.columns, report)
        sample = list(islice(rows, SAMPLE_ROWS))
        if sample:
            self._settle(sample, latest_at)
        for line, row in chain(sample, rows):
            try:
                yield self._play(row, items, latest_at)
            except ValueError as error:
                report.damage(self._name, line, str(error))
        if self._known_items is not None and len(items) > self._known_items:
            extra = len(items) - self._known_items
            self._notes.append(
                f"{extra:,} items of plays are not in {self._options.items_file}: created from the plays"
            )

    def facts(self) -> HistoryFacts:
        """Describe the source; see `History`."""
        options = self._options
        return HistoryFacts(
            name=Path(self._name).name.split(".")[0] or "plays",
            source=f"{Path(self._name).name}, imported as {self._format}",
            licence="Your own data: no terms are known.",
            events_are="plays" if "signal" not in self._fields.paths else "plays and other signals",
            clock=f"`at` is the {options.at_is} of a play as in the file (unit: {self._at_unit}).",
            notes=tuple(self._notes),
            settings={
                "map": dict[str, JsonValue](self._fields.paths.items()),
                "constants": dict[str, JsonValue](self._fields.constants.items()),
                "at_unit": self._at_unit,
                "at_is": options.at_is,
                "duration_units": dict[str, JsonValue](self._units.items()),
            },
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings: settings that look wrong but were applied."""
        return tuple(note for note in self._notes if "looks like" in note)

    def _rows(self, path: Path | str, columns: Sequence[str], report: RowReport) -> Iterator[Numbered]:
        name = source_of(path).name
        if self._format == "csv":
            table = CsvRows(path, columns, self._options.delimiter)
            for line, fields in table:
                report.rows += 1
                if fault := row_fault(table.columns, fields):
                    report.damage(name, line, fault)
                else:
                    yield line, dict(zip(table.columns, fields, strict=True))
            return
        for line, text in read_json(path):
            report.rows += 1
            try:
                row = _decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                report.damage(name, line, f"expected a JSON object, got {text[:60]!r} ({error})")
                continue
            if isinstance(row, dict):
                yield line, row
            else:
                report.damage(name, line, f"expected a JSON object, got {text[:60]!r}")

    def _settle(self, sample: Sequence[Numbered], latest_at: int) -> None:
        """Complete the mapping and detect the units, from the first rows."""
        options = self._options
        everything = {name: value for _, row in reversed(sample) for name, value in row.items()}
        self._fields = options.fields.completed(everything)
        self._require_fields()
        ats = [value for _, row in sample if (value := self._fields.value(row, "at")) is not None]
        if options.at_unit == "auto":
            self._at_unit = guess_at_unit(ats, latest_at, self._name)
        else:
            check_at_unit(ats, options.at_unit, latest_at, self._name)
        self._settle_durations(self._fields, sample, self._name)

    def _settle_durations(self, fields: FieldMap, sample: Sequence[Numbered], name: str) -> None:
        """Detect the unit of durations, which also applies to listened times unless their column names another."""
        for field_name in DURATIONS:
            if field_name not in {*fields.paths, *fields.constants}:
                continue
            asked = self._options.duration_unit
            if asked == "auto":
                asked = fields.unit_named(field_name) or self._units.get("duration", "auto")
            values = [fields.value(row, field_name) for _, row in sample]
            self._units[field_name], warning = duration_unit(values, asked, name)
            if warning is not None:
                self._notes.append(warning)

    def _require_fields(self) -> None:
        known = {*self._fields.paths, *self._fields.constants}
        missing = [name for name in ("user", "at") if name not in known and not (name == "user" and self._options.user)]
        if missing:
            hint = "give --user NAME for a file of one listener, or " if "user" in missing else ""
            msg = f"{self._name}: expected a column or path for {', '.join(missing)}; {hint}--map {missing[0]}=…"
            raise DataError(msg)
        if not known & {"item", "title"}:
            msg = f"{self._name}: expected a column or path for item (an id) or title; --map item=…"
            raise DataError(msg)

    def _play(self, row: Mapping[str, Any], items: Items, latest_at: int) -> Play:
        fields = self._fields
        user_id = as_text(fields.value(row, "user")) or self._options.user or ""
        if not fits_id(user_id):
            raise ValueError(_expected_id("user", user_id))
        at = read_at(_required(fields.value(row, "at"), "at"), self._at_unit)
        require_at(at, latest_at)
        words = self._words(row, fields)
        listened_ms = read_duration_ms(fields.value(row, "listened"), self._units.get("listened", "ms"))
        heard_ms = listened_ms if listened_ms is not None else words.duration_ms or 0
        starts = self._options.at_is == "start"
        session_id, event_id = (as_text(fields.value(row, name)) for name in ("session", "event"))
        for name, text in (("session", session_id), ("event", event_id)):
            if text and not fits_id(text):
                raise ValueError(_expected_id(name, text))
        signal = self._signal(fields.value(row, "signal"))
        return Play(
            user_id=user_id,
            item=self._item(row, fields, words, items, at),
            at=at,
            started_at=at if starts else at - (listened_ms or 0),
            ended_at=at + heard_ms if starts else at,
            listened_ms=listened_ms,
            duration_ms=words.duration_ms,
            signal=signal,
            surface=as_text(fields.value(row, "surface")) or None,
            device=as_text(fields.value(row, "device")) or None,
            session_id=session_id or None,
            event_id=event_id or None,
        )

    def _item(self, row: Mapping[str, Any], fields: FieldMap, words: Words, items: Items, at: int) -> str:
        item_id = as_text(fields.value(row, "item"))
        if item_id:
            if not fits_id(item_id):
                raise ValueError(_expected_id("item", item_id))
            # With a file of items, plays only fill in what it does not have.
            return items.of_id(item_id, words, at if self._known_items is None else -1)
        if "item" in fields.paths or not words.title:
            msg = f"expected an item id{'' if 'item' in fields.paths else ' or a title'}, got none"
            raise ValueError(msg)
        return items.of_name((), words, at)

    def _read_items(self, path: Path, items: Items, report: RowReport) -> None:
        rows = self._rows(path, (), report)
        sample = list(islice(rows, SAMPLE_ROWS))
        everything = {name: value for _, row in reversed(sample) for name, value in row.items()}
        wanted = self._options.item_fields.completed(everything) if sample else self._options.item_fields
        if "item" not in wanted.paths and "id" in everything:
            wanted = FieldMap({"item": "id", **wanted.paths}, wanted.constants)
        # `at` or `user` of an item file do not belong to a play.
        paths = {name: path for name, path in wanted.paths.items() if name not in OF_PLAYS}
        fields = FieldMap(paths, wanted.constants)
        if sample and "item" not in {*paths, *fields.constants}:
            msg = f"{path}: expected a column or path with the item's id; --item-map item=…"
            raise DataError(msg)
        self._settle_durations(fields, sample, str(path))
        for line, row in chain(sample, rows):
            try:
                item_id = as_text(fields.value(row, "item"))
                if not fits_id(item_id):
                    raise ValueError(_expected_id("item", item_id))
                items.of_id(
                    item_id,
                    item_words(row, fields, self._units.get("duration", "ms"), self._options.tags_separator),
                    LATEST_AT,
                )
            except ValueError as error:
                report.damage(str(path), line, str(error))

    def _words(self, row: Mapping[str, Any], fields: FieldMap) -> Words:
        return item_words(row, fields, self._units.get("duration", "ms"), self._options.tags_separator)

    def _signal(self, value: Any) -> Signal:
        word = as_text(value)
        ours = self._options.signals.get(word, word) or "listen"
        if ours not in get_args(Signal):
            msg = (
                f"expected a signal of {', '.join(get_args(Signal))}, got {word!r} "
                f"(map it with --signal '{word}=listen')"
            )
            raise ValueError(msg)
        return cast(Signal, ours)


def _required(value: Any, name: str) -> Any:
    if value is None:
        msg = f"expected a value for {name}, got none"
        raise ValueError(msg)
    return value


def _expected_id(name: str, text: str) -> str:
    return f"expected {name} to have 1 to 256 characters, got {len(text)}"
