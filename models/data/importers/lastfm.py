"""Importer of HetRec 2011 Last.fm: which user tagged which artist, in order, split as in the S3-Rec benchmark.

An event is the first line of a (user, artist) pair in `user_taggedartists.dat`: an act of tagging, not a play. Time is
given by month, and lines of one month are in file order; this is the order of the benchmark file `LastFM.txt` except
for ties within the crawl days of May 2011 (1,016 of its 1,090 users agree in every position).

An item is an artist. The catalogue has no such kind, so it is written as `track`, the closest playable kind.
"""

import calendar
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sidestream.models.data.importers.content import Catalogue, read_names, tag_texts
from sidestream.models.data.importers.lines import line_error, read_lines
from sidestream.models.data.manifest import Clock, Manifest, Split
from sidestream.models.data.plays.builder import SESSION_LEAD_MS
from sidestream.models.data.progress import Progress, counted, ignore_progress
from sidestream.models.data.rows import HeldOutRow, ListenRow
from sidestream.models.data.settings import ImportSettings
from sidestream.models.data.writer import FolderFacts, LogFolderWriter, require_target
from sidestream.models.errors import DataError
from sidestream.models.records import SessionStart

EVENTS_ARE = "acts of tagging, not plays"
TAGS_FILE = "user_taggedartists.dat"
# Last.fm opened in 2002; the file has five lines dated 1956 to 1979.
FIRST_YEAR = 2002

Month = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TagRow:
    """One line of the tag file."""

    user: int
    artist: int
    tag: int
    day: tuple[int, int, int]

    @property
    def plausible(self) -> bool:
        """Whether the line's year is plausible."""
        return self.day[0] >= FIRST_YEAR


@dataclass(frozen=True, slots=True)
class Event:
    """One act of tagging on the synthetic clock."""

    user: int
    artist: int
    at: int


def import_lastfm(
    source: Path | str,
    target: Path | str,
    settings: ImportSettings | None = None,
    *,
    overwrite: bool = False,
    on_progress: Progress = ignore_progress,
) -> Manifest:
    """Import the published files into a log folder.

    Args:
        source: Folder with `user_taggedartists.dat`, `artists.dat` and `tags.dat`.
        target: The log folder to create.
        settings: Core size, number of tags, and until when tags count as content.
        overwrite: Whether to replace a log folder at `target`.
        on_progress: Called with the progress.

    Returns:
        The manifest of the new folder.

    Raises:
        DataError: A file is missing, a line is damaged, or nothing is left after filtering.
    """
    folder, chosen = Path(source), settings or ImportSettings()
    require_target(target, overwrite=overwrite)
    rows = read_tag_rows(folder / TAGS_FILE, on_progress)
    pairs = core_pairs(rows, chosen.min_events)
    if not pairs:
        msg = f"{folder / TAGS_FILE}: expected listeners and artists with {chosen.min_events} events, got none"
        raise DataError(msg)
    events = spread(pairs)
    by_user: dict[int, list[Event]] = {}
    for event in events:
        by_user.setdefault(event.user, []).append(event)
    # With fewer than three events nothing is left for training after holding out two.
    held = {user: tuple(own[-2:]) for user, own in by_user.items() if len(own) >= 3}
    tags = _content(rows, events, held, chosen, folder)
    names = read_names(folder / "artists.dat", "id", "name")
    catalogue = Catalogue(names, tags, events[0].at - SESSION_LEAD_MS)
    with LogFolderWriter(target, overwrite=overwrite) as writer:
        for artist in sorted({event.artist for event in events}):
            writer.item(catalogue.item(artist))
        _write_events(writer, counted(events, "write events", len(events), on_progress), held)
        return writer.finish(_facts(rows, events, catalogue, chosen))


def read_tag_rows(path: Path, on_progress: Progress = ignore_progress) -> list[TagRow]:
    """Read which user gave which artist which tag, and when.

    Args:
        path: `user_taggedartists.dat`.
        on_progress: Called with how far it is.

    Returns:
        Rows in file order.

    Raises:
        DataError: The file is missing or a line is not six numbers with a valid date.
    """
    rows: list[TagRow] = []
    for number, raw in counted(read_lines(path), "read lines", 0, on_progress):
        if number == 1:
            if raw.split(b"\t")[:3] != [b"userID", b"artistID", b"tagID"]:
                raise line_error(path, 1, "the header userID, artistID, tagID, day, month, year", raw)
            continue
        try:
            user, artist, tag, day, month, year = map(int, raw.split(b"\t"))
            date(year, month, day)
        except ValueError as error:
            raise line_error(
                path, number, "user, artist, tag, day, month, year as tab-separated numbers", raw
            ) from error
        rows.append(TagRow(user, artist, tag, (year, month, day)))
    return rows


def core_pairs(rows: Iterable[TagRow], min_events: int) -> list[TagRow]:
    """Keep the first row of each (user, artist) pair, then iterate the k-core of users and artists until stable.

    Args:
        rows: Rows in file order.
        min_events: Minimum number of events of a user and of an artist.

    Returns:
        Rows in file order.
    """
    first: dict[tuple[int, int], TagRow] = {}
    for row in rows:
        # The benchmark uses the time of the pair's first line, not the earliest time.
        first.setdefault((row.user, row.artist), row)
    pairs = list(first.values())
    while True:
        users = Counter(row.user for row in pairs)
        artists = Counter(row.artist for row in pairs)
        kept = [row for row in pairs if users[row.user] >= min_events and artists[row.artist] >= min_events]
        if len(kept) == len(pairs):
            return kept
        pairs = kept


def spread(pairs: Sequence[TagRow]) -> list[Event]:
    """Assign times to events: evenly over their month, in order of day and file position.

    Events with an implausible year keep their position before all others: in the month before the first plausible one.

    Args:
        pairs: Rows in file order.

    Returns:
        Events in order of time, at distinct milliseconds.
    """
    ordered = sorted(pairs, key=lambda row: row.day)
    months: dict[Month, list[TagRow]] = {}
    earliest = min((row.day[:2] for row in ordered if row.plausible), default=(FIRST_YEAR + 1, 1))
    for row in ordered:
        months.setdefault(row.day[:2] if row.plausible else _month_before(earliest), []).append(row)
    events: list[Event] = []
    for (year, month), members in months.items():
        start = calendar.timegm((year, month, 1, 0, 0, 0)) * 1_000
        length = calendar.monthrange(year, month)[1] * 86_400_000
        events += [Event(row.user, row.artist, start + k * length // len(members)) for k, row in enumerate(members)]
    return events


def _month_before(month: Month) -> Month:
    return (month[0], month[1] - 1) if month[1] > 1 else (month[0] - 1, 12)


def _content(
    rows: Iterable[TagRow],
    events: Iterable[Event],
    held: Mapping[int, tuple[Event, ...]],
    settings: ImportSettings,
    folder: Path,
) -> dict[int, tuple[str, ...]]:
    training = {(event.user, event.artist) for event in events}
    training -= {(event.user, event.artist) for own in held.values() for event in own}
    until = settings.content_until
    limit = (until.year, until.month, until.day) if until else None
    counts: dict[int, Counter[int]] = {}
    for row in rows:
        if (row.user, row.artist) in training and row.plausible and (limit is None or row.day < limit):
            counts.setdefault(row.artist, Counter())[row.tag] += 1
    return tag_texts(counts, read_names(folder / "tags.dat", "tagID", "tagValue"), settings.max_tags)


def _write_events(writer: LogFolderWriter, events: Iterable[Event], held: Mapping[int, tuple[Event, ...]]) -> None:
    for event in events:
        user, common = f"user-{event.user}", _listen_fields(event)
        own = held.get(event.user, ())
        if own and event is own[-1]:
            session_id = f"lastfm-{event.user}-last"
            writer.session(SessionStart(session_id=session_id, user_id=user, at=event.at - SESSION_LEAD_MS))
            writer.heldout(HeldOutRow(*common, role="test", session_id=session_id))
            continue
        writer.listen(ListenRow(*common))
        if own and event is own[0]:
            writer.heldout(HeldOutRow(*common, role="valid"))


def _listen_fields(event: Event) -> tuple[str, str, str, int]:
    return (f"lastfm-{event.user}-{event.artist}", f"user-{event.user}", f"artist-{event.artist}", event.at)


def _facts(
    rows: Sequence[TagRow], events: Sequence[Event], catalogue: Catalogue, settings: ImportSettings
) -> FolderFacts:
    artists = {event.artist for event in events}
    until = settings.content_until
    bad = sum(not row.plausible for row in rows)
    tagged = sum(bool(catalogue.tags.get(artist)) for artist in artists)
    return FolderFacts(
        name="lastfm-hetrec2011",
        source="HetRec 2011 Last.fm 2k (user_taggedartists.dat, artists.dat, tags.dat)",
        licence="Non-commercial use only; cite Cantador, Brusilovsky and Kuflik, HetRec 2011.",
        events_are=EVENTS_ARE,
        clock=Clock(
            kind="synthetic",
            statement="The source knows the month alone: events of a month are spread evenly over it in file order. "
            "Order across months is real, order and distances inside a month are not.",
        ),
        split=Split(
            protocol="leave_one_out",
            statement="Per listener the last event is the test (heldout.jsonl alone, one session-start before it), the "
            "one before it validation (in listens.jsonl too), the rest training.",
        ),
        cuts={"content_until": calendar.timegm(until.timetuple()) * 1_000} if until else {},
        notes=(
            f"{bad} of {len(rows)} lines of {TAGS_FILE} have a year before {FIRST_YEAR}: their order is kept, their "
            "events are in the month before the first plausible one, their tags are not content.",
            f"{sum(artist not in catalogue.names for artist in artists)} of {len(artists)} artists have no name in "
            "artists.dat: titled by number.",
            f"Tags of {tagged} artists come from training events"
            f"{f' before {until}' if until else ''}; tags of held-out events are left out.",
            "Items are artists, written as kind `track`. All are written when the log starts; none counts as new.",
        ),
        settings=settings.model_dump(mode="json", include={"content_until", "min_events", "max_tags"}),
    )
