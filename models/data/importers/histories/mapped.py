"""Importer of any JSON or CSV file of plays, with a mapping of fields, and units that are given or detected."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic import JsonValue

from sidestream.models.data.importers.csv_rows import CsvRows
from sidestream.models.data.importers.histories.fields import (
    MISSING_WORDS,
    OF_PLAYS,
    STARTS,
    Field,
    FieldMap,
    as_text,
    columns_of,
)
from sidestream.models.data.importers.histories.layout import Layout
from sidestream.models.data.importers.histories.run import HistoryFacts
from sidestream.models.data.importers.histories.time_texts import check_format
from sidestream.models.data.importers.histories.units import (
    DAY_MS,
    are_days,
    check_at_unit,
    guess_at_unit,
    is_format,
    read_duration_ms,
    read_event_at,
)
from sidestream.models.data.importers.histories.words import item_words
from sidestream.models.data.importers.json_objects import read_objects, whole
from sidestream.models.data.importers.lines import source_of
from sidestream.models.data.importers.shown import shown
from sidestream.models.data.plays import Items, Play, RowReport, Words
from sidestream.models.data.plays.items import fits_id
from sidestream.models.data.quantities import quantity
from sidestream.models.errors import DataError
from sidestream.models.records import Signal
from sidestream.models.records.times import LATEST_AT

FileFormat = Literal["jsonl", "csv"]
Moment = Literal["auto", "start", "end"]
# Rows from which units are detected.
SAMPLE_ROWS = 1_000

Row = Mapping[str, Any]
# A row with its line, or what is wrong with it.
Numbered = tuple[int, Row | str]


@dataclass(frozen=True, slots=True)
class MappedOptions:
    """Options of an import.

    Attributes:
        fields: Mapping of the fields of a play.
        items_file: A file with the items, of the same format; None if the plays have all item data.
        item_fields: Mapping of the fields of an item in that file.
        at_unit: Unit of times, or their format for `strptime`.
        at_is: Whether a time is the start or the end of a play; auto: the end, unless its column is named otherwise.
        duration_unit: Unit of durations and listened times.
        signals: Signal by the word in the file; words that are valid signals need no entry.
        tags_separator: Separator of tags in one text.
        columns: Names of the columns of a CSV file without a header.
        delimiter: Delimiter of a CSV file; None detects it.
        user: The listener if rows have none.
        missing: Words of a CSV file that mean no value.
    """

    fields: FieldMap = field(default_factory=FieldMap)
    items_file: Path | None = None
    item_fields: FieldMap = field(default_factory=FieldMap)
    at_unit: str = "auto"
    at_is: Moment = "auto"
    duration_unit: str = "auto"
    signals: Mapping[str, str] = field(default_factory=dict)
    tags_separator: str = "|"
    columns: tuple[str, ...] = ()
    delimiter: str | None = None
    user: str | None = None
    missing: Set[str] = MISSING_WORDS


class MappedHistory:
    """Plays of a JSON or CSV file.

    Args:
        path: The file; `-` for standard input.
        file_format: Format of the file.
        options: Options of the import.

    Raises:
        DataError: A mapped signal is unknown, or the format of times gives no moment.
    """

    def __init__(self, path: Path | str, file_format: FileFormat, options: MappedOptions | None = None) -> None:
        self._name = source_of(path).name
        self._path = path
        self._format = file_format
        self._options = options or MappedOptions()
        # JSON has null.
        self._missing = self._options.missing if file_format == "csv" else frozenset[str]()
        self._layout = Layout(self._options.fields, {}, frozenset())
        self._item_layout: Layout | None = None
        self._at_unit = self._options.at_unit
        self._at_is: Moment = self._options.at_is
        self._has_days = False
        self._notes: list[str] = []
        self._warnings: list[str] = []
        self._known_items: int | None = None
        if is_format(self._at_unit):
            check_format(self._at_unit)
        for word, ours in self._options.signals.items():
            if ours not in get_args(Signal):
                msg = f"--signal {word}={ours}: expected one of {', '.join(get_args(Signal))}, got {ours!r}"
                raise DataError(msg)

    def plays(self, items: Items, report: RowReport, latest_at: int) -> Iterator[Play]:
        """Read the plays; see `History`."""
        if self._options.items_file is not None:
            self._read_items(self._options.items_file, items, report)
            self._known_items = len(items)
        report.begin_file()
        rows = self._rows(self._path, self._options.columns)
        sample = list(islice(rows, SAMPLE_ROWS))
        if sound := [row for _, row in sample if not isinstance(row, str)]:
            self._settle(sound, latest_at)
        for line, row in chain(sample, rows):
            report.rows += 1
            try:
                yield self._play(whole(row), items, latest_at)
            except ValueError as error:
                report.damage(self._name, line, str(error))
        if self._known_items is not None and len(items) > self._known_items:
            extra = len(items) - self._known_items
            self._notes.append(
                f"{quantity(extra, 'item')} of plays not in {self._options.items_file}: created from the plays"
            )

    def facts(self) -> HistoryFacts:
        """Describe the source; see `History`."""
        fields, units = self._layout.fields, self._layout.units
        item_units = {} if self._item_layout is None else self._item_layout.units
        return HistoryFacts(
            name=Path(self._name).name.split(".")[0] or "plays",
            source=f"{Path(self._name).name}, imported as {self._format}",
            licence="Your own data: no terms are known.",
            events_are="plays" if "signal" not in fields.paths else "plays and other signals",
            clock=f"`at` is the {self._at_is} of a play as in the file (unit: {self._at_unit}).",
            notes=(*self._warnings, *self._notes),
            settings={
                "map": dict[str, JsonValue](fields.paths.items()),
                "constants": dict[str, JsonValue](fields.constants.items()),
                "at_unit": self._at_unit,
                "at_is": self._at_is,
                "duration_units": dict[str, JsonValue](units.items()),
                **({"item_duration_units": dict[str, JsonValue](item_units.items())} if item_units else {}),
            },
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings: settings that look wrong but were applied, and data that mean less than they seem to."""
        return tuple(self._warnings)

    def _rows(self, path: Path | str, columns: Sequence[str]) -> Iterator[Numbered]:
        if self._format == "csv":
            table = CsvRows(path, columns, self._options.delimiter)
            for line, texts, fault in table:
                yield line, fault or dict(zip(table.columns, texts, strict=True))
            return
        yield from read_objects(path)

    def _settle(self, sample: Sequence[Row], latest_at: int) -> None:
        """Complete the mapping and detect the units, from the first rows."""
        options = self._options
        everything = {name: value for row in reversed(sample) for name, value in row.items()}
        fields = replace(options.fields.completed(everything), missing=self._missing)
        self._require_fields(fields, everything)
        ats = [value for row in sample if (value := fields.value(row, "at")) is not None]
        if options.at_unit == "auto":
            self._at_unit = guess_at_unit(ats, latest_at, self._name)
        else:
            check_at_unit(ats, options.at_unit, latest_at, self._name)
        if options.at_is == "auto":
            self._at_is = "start" if fields.paths.get("at", "").split(".")[-1] in STARTS else "end"
        self._layout = Layout.found_in(sample, fields, options.duration_unit, self._name)
        self._has_days = are_days(ats, self._at_unit)
        if self._has_days:
            self._warnings.append(
                f"{self._name}: times are whole days; equal plays of one day are all kept, and the order within a day "
                "is that of the file"
            )
        self._warnings += self._layout.warnings
        self._notes += self._layout.notes

    def _require_fields(self, fields: FieldMap, everything: Row) -> None:
        known = {*fields.paths, *fields.constants}
        missing = [name for name in ("user", "at") if name not in known and not (name == "user" and self._options.user)]
        hint = "give --user NAME for a file of one listener, or " if "user" in missing else ""
        what = ", ".join(missing)
        if not missing and not known & {"item", "title"}:
            missing, what = ["item"], "item (an id) or title"
        if missing:
            msg = (
                f"{self._name}: expected a column or path for {what}; {hint}--map {missing[0]}=…; "
                f"the file has {columns_of(everything)}"
            )
            raise DataError(msg)

    def _play(self, row: Row, items: Items, latest_at: int) -> Play:
        layout, fields = self._layout, self._layout.fields
        user_id = layout.id_of(row, "user") or self._options.user or ""
        if not fits_id(user_id):
            raise ValueError(_expected_id("user", user_id, fields.absence(row, "user")))
        given_at = fields.value(row, "at")
        if given_at is None:
            msg = f"expected a value for at, got {fields.absence(row, 'at')}"
            raise ValueError(msg)
        at = read_event_at(given_at, self._at_unit, latest_at)
        words = self._words(row, layout)
        listened_ms = read_duration_ms(fields.value(row, "listened"), layout.units.get("listened", "ms"))
        heard_ms = listened_ms if listened_ms is not None else words.duration_ms or 0
        starts = self._at_is == "start"
        session_id, event_id = layout.id_of(row, "session"), layout.id_of(row, "event")
        for name, text in (("session", session_id), ("event", event_id)):
            if text and not fits_id(text):
                raise ValueError(_expected_id(name, text))
        signal = self._signal(row)
        return Play(
            user_id=user_id,
            item=self._item(row, words, items, at),
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
            is_day=self._has_days and at % DAY_MS == 0,
        )

    def _item(self, row: Row, words: Words, items: Items, at: int) -> str:
        fields = self._layout.fields
        item_id = self._layout.id_of(row, "item")
        if item_id:
            if not fits_id(item_id):
                raise ValueError(_expected_id("item", item_id))
            # With a file of items, plays only fill in what it does not have.
            return items.of_id(item_id, words, at if self._known_items is None else -1)
        if "item" in fields.paths or not words.title:
            name: Field = "item" if "item" in fields.paths else "title"
            msg = f"expected {'an item id' if name == 'item' else 'a title'}, got {fields.absence(row, name)}"
            raise ValueError(msg)
        return items.of_name((), words, at)

    def _read_items(self, path: Path, items: Items, report: RowReport) -> None:
        report.begin_file()
        rows = self._rows(path, ())
        sample = list(islice(rows, SAMPLE_ROWS))
        layout = self._item_layout = self._layout_of_items(path, [row for _, row in sample if not isinstance(row, str)])
        self._warnings += layout.warnings
        self._notes += layout.notes
        for line, row in chain(sample, rows):
            report.rows += 1
            try:
                item = whole(row)
                item_id = layout.id_of(item, "item")
                if not fits_id(item_id):
                    raise ValueError(_expected_id("item", item_id, layout.fields.absence(item, "item")))
                items.of_id(item_id, self._words(item, layout), LATEST_AT)
            except ValueError as error:
                report.damage(str(path), line, str(error))

    def _layout_of_items(self, path: Path, sample: Sequence[Row]) -> Layout:
        everything = {name: value for row in reversed(sample) for name, value in row.items()}
        wanted = self._options.item_fields.completed(everything) if sample else self._options.item_fields
        if "item" not in wanted.paths and "id" in everything:
            wanted = replace(wanted, paths={"item": "id", **wanted.paths})
        # `at` or `user` of an item file do not belong to a play.
        paths = {name: at for name, at in wanted.paths.items() if name not in OF_PLAYS}
        fields = replace(wanted, paths=paths, missing=self._missing)
        if sample and "item" not in {*fields.paths, *fields.constants}:
            msg = (
                f"{path}: expected a column or path with the item's id; --item-map item=…; the file has "
                f"{columns_of(everything)}"
            )
            raise DataError(msg)
        return Layout.found_in(sample, fields, self._options.duration_unit, str(path))

    def _words(self, row: Row, layout: Layout) -> Words:
        return item_words(row, layout.fields, layout.units.get("duration", "ms"), self._options.tags_separator)

    def _signal(self, row: Row) -> Signal:
        fields, signals = self._layout.fields, self._options.signals
        word = as_text(fields.given(row, "signal"))
        if word not in signals:
            # A word that is mapped means something, whatever it means in other columns.
            word = as_text(fields.value(row, "signal"))
        ours = signals.get(word, word) or "listen"
        if ours not in get_args(Signal):
            msg = (
                f"expected a signal of {', '.join(get_args(Signal))}, got {shown(word)} "
                f"(map it with --signal {shown(f'{word}=listen')})"
            )
            raise ValueError(msg)
        return cast(Signal, ours)


def _expected_id(name: str, text: str, absence: str = "none") -> str:
    return f"expected {name} to have 1 to 256 characters, got {len(text) or absence}"
