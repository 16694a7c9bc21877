"""Importer of rating data in RecBole's atomic files: `NAME.inter` with user, item and time, `NAME.item` with items.

MovieLens-100K is part of the `recbole` package in this form, with real times in seconds. A column is `name:type`;
fields are separated by tabs, elements of a sequence by spaces. Ratings become signals: high ones are likes, low ones
dislikes.

Topics accept no events before 2000, so earlier times are shifted by the same whole number of weeks for all rows:
distances, weekdays and times of day stay real, and the manifest states the shift.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sidestream.models.data.importers.csv_rows import row_fault
from sidestream.models.data.importers.histories.fields import MISSING_WORDS, as_text
from sidestream.models.data.importers.histories.run import HistoryFacts
from sidestream.models.data.importers.histories.units import as_number, read_at
from sidestream.models.data.importers.lines import decode_text, line_error, read_lines
from sidestream.models.data.importers.shown import shown
from sidestream.models.data.plays import Items, Play, RowReport, Words
from sidestream.models.data.plays.items import fits_id
from sidestream.models.data.quantities import quantity
from sidestream.models.errors import DataError
from sidestream.models.records import Signal
from sidestream.models.records.times import EARLIEST_EVENT_AT, describe_at, is_event_time

WEEK_MS = 7 * 86_400_000
_TITLES = ("movie_title", "title", "name", "item_name", "artist_name", "track_name")
_TAGS = ("class", "genre", "genres", "categories", "category", "tags")
_CREATORS = ("artist", "artist_name", "brand", "author")


@dataclass(frozen=True, slots=True)
class RatingOptions:
    """Mapping of ratings to signals.

    Attributes:
        liked_from: Lowest rating that is a like.
        disliked_until: Highest rating that is a dislike; ratings in between are listens.
    """

    liked_from: float = 4.0
    disliked_until: float = 2.0

    def __post_init__(self) -> None:
        """Check the ratings.

        Raises:
            DataError: They are no numbers, or a rating would be both a like and a dislike.
        """
        if not self.disliked_until < self.liked_from:
            msg = (
                "--disliked-until and --liked-from: expected a rating below which nothing is liked, got "
                f"--disliked-until {self.disliked_until:g} and --liked-from {self.liked_from:g}"
            )
            raise DataError(msg)


class MovieLensHistory:
    """Ratings of one `.inter` file.

    Args:
        path: The file, or a folder with one.
        options: Mapping of ratings to signals.

    Raises:
        DataError: There is no `.inter` file, or there are several.
    """

    def __init__(self, path: Path | str, options: RatingOptions | None = None) -> None:
        self._inter = _inter_file(Path(path))
        self._options = options or RatingOptions()
        self._shift_ms = 0
        self._untitled = 0

    def plays(self, items: Items, report: RowReport, latest_at: int) -> Iterator[Play]:
        """Read the ratings; see `History`."""
        words = self._read_items(report)
        for item_id, known in words.items():
            items.of_id(item_id, known, 0)
        self._shift_ms = self._find_shift()
        for line, row in _rows(self._inter, ("user_id", "item_id", "timestamp"), report):
            try:
                yield self._play(row, items, latest_at)
            except ValueError as error:
                report.damage(str(self._inter), line, str(error))
        self._untitled = len(items) - len(words)

    def facts(self) -> HistoryFacts:
        """Describe the source; see `History`."""
        options = self._options
        weeks = self._shift_ms // WEEK_MS
        shifted = f" All times are shifted by {weeks} weeks, to be after 2000; distances are real." if weeks else ""
        notes = ["Items are written as kind `track`, the closest playable kind."]
        if self._untitled:
            notes.append(
                f"{quantity(self._untitled, 'item')} with ratings, but without a line in {self._inter.stem}.item."
            )
        return HistoryFacts(
            name=self._inter.stem,
            source=f"{self._inter.name}, RecBole's atomic files",
            licence="As published with the data; MovieLens: research use, not to be passed on.",
            events_are="ratings, not plays",
            clock=f"`at` is the time of a rating.{shifted}",
            notes=tuple(notes),
            settings={
                "liked_from": options.liked_from,
                "disliked_until": options.disliked_until,
                "shift_ms": self._shift_ms,
            },
        )

    def _play(self, row: Mapping[str, str], items: Items, latest_at: int) -> Play:
        user_id, item_id = row["user_id"].strip(), row["item_id"].strip()
        for name, text in (("user_id", user_id), ("item_id", item_id)):
            if not fits_id(text) or text in MISSING_WORDS:
                got = shown(text) if text in MISSING_WORDS else len(text)
                msg = f"expected {name} to have 1 to 256 characters, got {got}"
                raise ValueError(msg)
        at = read_at(row["timestamp"], "s") + self._shift_ms
        if not is_event_time(at, latest_at):
            msg = f"expected a timestamp in seconds, got {shown(row['timestamp'])}, {describe_at(at)}"
            raise ValueError(msg)
        return Play(
            user_id=user_id,
            item=items.of_id(item_id, None),
            at=at,
            started_at=at,
            ended_at=at,
            signal=self._signal(row.get("rating")),
        )

    def _signal(self, rating: str | None) -> Signal:
        if rating is None:
            return "listen"
        number = as_number(rating)
        if number is None:
            msg = f"expected a number as rating, got {shown(rating)}"
            raise ValueError(msg)
        if number >= self._options.liked_from:
            return "like"
        return "dislike" if number <= self._options.disliked_until else "listen"

    def _find_shift(self) -> int:
        """Return the whole number of weeks that shifts the first time after 2000; 0 if it is already."""
        ignored = RowReport(1.0)
        first: int | None = None
        for _, row in _rows(self._inter, ("user_id", "item_id", "timestamp"), ignored):
            try:
                at = read_at(row["timestamp"], "s")
            except ValueError:
                continue
            # A damaged row must not move all others.
            if at > 0:
                first = at if first is None else min(first, at)
        if first is None or first >= EARLIEST_EVENT_AT:
            return 0
        return -((first - EARLIEST_EVENT_AT) // WEEK_MS) * WEEK_MS

    def _read_items(self, report: RowReport) -> dict[str, Words]:
        path = self._inter.with_suffix(".item")
        if not path.exists():
            return {}
        found: dict[str, Words] = {}
        for line, row in _rows(path, ("item_id",), report):
            item_id = row["item_id"].strip()
            if not fits_id(item_id) or item_id in MISSING_WORDS:
                report.damage(str(path), line, f"expected an item_id, got {shown(item_id)}")
                continue
            year = row.get("release_year", "").strip()
            title = _first(row, _TITLES)
            found[item_id] = Words(
                title=f"{title} ({year})" if title and year.isdecimal() else title,
                creator=_first(row, _CREATORS) or None,
                tags=tuple(dict.fromkeys(_first(row, _TAGS).split())),
            )
        return found


def _inter_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.inter"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        msg = f"{path}: expected one .inter file, got {names}; name the file"
        raise DataError(msg)
    return found[0]


def _first(row: Mapping[str, str], names: tuple[str, ...]) -> str:
    texts = (as_text(row.get(name)) for name in names)
    return next((text for text in texts if text and text not in MISSING_WORDS), "")


def _rows(path: Path, wanted: tuple[str, ...], report: RowReport) -> Iterator[tuple[int, Mapping[str, str]]]:
    columns: tuple[str, ...] = ()
    for line, raw in read_lines(path):
        fields = decode_text(raw).split("\t")
        if not columns:
            columns = tuple(field.partition(":")[0].strip() for field in fields)
            if missing := [name for name in wanted if name not in columns]:
                raise line_error(path, line, f"a header with {missing[0]}:…, fields separated by tabs", raw[:80])
            continue
        report.rows += 1
        if fault := row_fault(columns, fields):
            report.damage(str(path), line, fault)
            continue
        yield line, dict(zip(columns, fields, strict=True))
