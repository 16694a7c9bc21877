"""Importer of Amazon 2018 Office: whole sequences from windows of histories, split at two points of global time.

The published training rows are not available, but histories reach back into their time. So what precedes the first row
of `valid.csv` is training; each listener's first target in `valid.csv` is validation and the first in `test.csv` is the
test. No training listen is later than any target.

An event is a product review, not a play. The catalogue has no such kind, so items are written as `track`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sidestream.models.data.importers.amazon18_files import ItemWords, read_items, read_windows
from sidestream.models.data.importers.lines import line_error
from sidestream.models.data.manifest import Clock, Manifest, Split
from sidestream.models.data.plays.builder import SESSION_LEAD_MS
from sidestream.models.data.progress import Progress, counted, ignore_progress
from sidestream.models.data.rows import HeldOutRow, ListenRow, Role
from sidestream.models.data.settings import ImportSettings
from sidestream.models.data.writer import FolderFacts, LogFolderWriter, require_target
from sidestream.models.errors import DataError
from sidestream.models.records import CatalogItem, SessionStart
from sidestream.models.records.times import UNKNOWN_PUBLISHED_AT

NAME = "amazon18-office"
EVENTS_ARE = "product reviews, not plays"
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Event:
    """One position of one listener's sequence on the synthetic clock; `role` if it is held out."""

    at: int
    user: str
    item: int
    position: int
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Cuts:
    """The synthetic clock: published training rows take 80 % of the time, validation and test 10 % each."""

    start_at: int
    valid_from: int
    test_from: int
    end_at: int

    @classmethod
    def of(cls, settings: ImportSettings) -> "Cuts":
        """Compute the three parts for the clock of the settings."""
        start_at = settings.clock_start_at + SESSION_LEAD_MS
        tenth = settings.clock_days * DAY_MS // 10
        return cls(start_at, start_at + 8 * tenth, start_at + 9 * tenth, start_at + 10 * tenth)


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences joined from the windows of both files.

    Attributes:
        items: Each listener's items, oldest first, listeners in order of their first row.
        targets: By file, the listener and the position of each row's target, in file order.
    """

    items: dict[str, list[int]]
    targets: dict[Role, list[tuple[str, int]]]

    @property
    def history_lengths(self) -> dict[str, int]:
        """Items of each listener before the first target, listeners in order of their first row."""
        lengths = dict[str, int]()
        for user, position in (*self.targets["valid"], *self.targets["test"]):
            lengths.setdefault(user, position)
        return lengths

    @property
    def later_tests(self) -> int:
        """Number of test targets after a listener's first."""
        return len(self.targets["test"]) - len({user for user, _ in self.targets["test"]})


def import_amazon18(
    source: Path | str,
    target: Path | str,
    settings: ImportSettings | None = None,
    *,
    overwrite: bool = False,
    on_progress: Progress = ignore_progress,
) -> Manifest:
    """Import the published files into a log folder.

    Args:
        source: Folder with `item.json`, `valid.csv` and `test.csv`.
        target: The log folder to create.
        settings: Start and length of the synthetic clock.
        overwrite: Whether to replace a log folder at `target`.
        on_progress: Called with the progress.

    Returns:
        The manifest of the new folder.

    Raises:
        DataError: A file is missing, or a row is damaged or does not continue the listener's previous row.
    """
    folder, chosen = Path(source), settings or ImportSettings()
    require_target(target, overwrite=overwrite)
    items = read_items(folder / "item.json")
    sequences = join_windows(folder, items, on_progress)
    cuts = Cuts.of(chosen)
    with LogFolderWriter(target, overwrite=overwrite) as writer:
        for number, words in items.items():
            writer.item(_item(number, words, chosen.clock_start_at))
        events = _events(sequences, cuts)
        for event in counted(events, "write events", len(events), on_progress):
            _write_event(writer, event)
        return writer.finish(_facts(items, sequences, cuts, chosen))


def join_windows(folder: Path, items: dict[int, ItemWords], on_progress: Progress = ignore_progress) -> Sequences:
    """Join the windows of both files.

    Args:
        folder: Folder with `valid.csv` and `test.csv`.
        items: The items that a window may contain.
        on_progress: Called with the progress.

    Returns:
        The sequences.

    Raises:
        DataError: A row is damaged, or its history is not the end of its listener's earlier rows.
    """
    sequences = Sequences({}, {"valid": [], "test": []})
    for role, found in sequences.targets.items():
        path = folder / f"{role}.csv"
        for window in counted(read_windows(path, items), f"read {path.name}", 0, on_progress):
            own = sequences.items.setdefault(window.user, list(window.history))
            if tuple(own[-len(window.history) :]) != window.history:
                expected = f"a history of {window.user} that ends with {own[-3:]}"
                raise line_error(path, window.line, expected, list(window.history))
            found.append((window.user, len(own)))
            own.append(window.target)
        if not found:
            msg = f"{path}:2: expected windows, got an empty file; restore the published file"
            raise DataError(msg)
    return sequences


def _events(sequences: Sequences, cuts: Cuts) -> list[Event]:
    events = [*_targets(sequences, "valid", cuts.valid_from, cuts.test_from)]
    # Session-starts, slightly before their tests, must not be before the cut.
    events += _targets(sequences, "test", cuts.test_from + SESSION_LEAD_MS, cuts.end_at)
    events += _histories(sequences, cuts)
    # A stable sort: events of one listener that share a millisecond stay in order.
    events.sort(key=lambda event: (event.at, event.position))
    return events


def _targets(sequences: Sequences, role: Role, starts_at: int, ends_at: int) -> Iterator[Event]:
    asked = set[str]()
    rows = sequences.targets[role]
    for place, (user, position) in enumerate(rows):
        first = user not in asked
        asked.add(user)
        if first or role == "valid":
            at = starts_at + place * (ends_at - starts_at) // len(rows)
            yield Event(at, user, sequences.items[user][position], position, role if first else None)


def _histories(sequences: Sequences, cuts: Cuts) -> Iterator[Event]:
    """Spread the items before each listener's first row evenly over the training time, with slight offsets."""
    steps = len(sequences.items) + 1
    span_ms = cuts.valid_from - cuts.start_at
    for index, (user, length) in enumerate(sequences.history_lengths.items()):
        for position in range(length):
            moment = (position * steps + index + 1) * span_ms // (length * steps)
            yield Event(cuts.start_at + moment, user, sequences.items[user][position], position)


def _write_event(writer: LogFolderWriter, event: Event) -> None:
    user = f"user-{event.user}"
    common = (f"{NAME}-{event.user}-{event.position}", user, f"item-{event.item}", event.at)
    if event.role == "test":
        session_id = f"{NAME}-{event.user}-test"
        # The lead shifts all session-starts equally, which keeps them in order.
        writer.session(SessionStart(session_id=session_id, user_id=user, at=event.at - SESSION_LEAD_MS))
        writer.heldout(HeldOutRow(*common, role="test", session_id=session_id))
        return
    writer.listen(ListenRow(*common))
    if event.role == "valid":
        writer.heldout(HeldOutRow(*common, role="valid"))


def _item(number: int, words: ItemWords, at: int) -> CatalogItem:
    return CatalogItem(
        item_id=f"item-{number}",
        kind="track",
        title=words.title,
        creator=words.brand or None,
        description=words.description,
        at=at,
        published_at=UNKNOWN_PUBLISHED_AT,
    )


def _facts(items: dict[int, ItemWords], sequences: Sequences, cuts: Cuts, settings: ImportSettings) -> FolderFacts:
    rows = sequences.targets["test"]
    # A listener's very first review is not a target of any row: if it is the whole history, its time is unknown.
    undated = sum(length == 1 for length in sequences.history_lengths.values())
    return FolderFacts(
        name=NAME,
        source="Amazon 2018 Office Products as windows of histories (item.json, valid.csv, test.csv)",
        licence="From a repository under Apache-2.0; texts and reviews are Amazon's: research copies, not to be passed "
        "on.",
        events_are=EVENTS_ARE,
        clock=Clock(
            kind="synthetic",
            statement=f"The source knows order alone, spread over {settings.clock_days} days: histories over the first "
            "80 %, rows of valid.csv and of test.csv in file order over 10 % each. Order inside a sequence and among "
            "rows is real; distances, and order between histories of different listeners, are not.",
        ),
        split=Split(
            protocol="global_time",
            statement="All before the first row of valid.csv is training. Per listener the first target of valid.csv "
            "is validation (in listens.jsonl too, as are the later ones, which no training sees), the first of "
            "test.csv the test (heldout.jsonl alone, one session-start before it).",
        ),
        cuts={"valid_from": cuts.valid_from, "test_from": cuts.test_from},
        notes=(
            "The published training rows are absent: training is the histories of valid.csv and test.csv alone, so no "
            "published figure is comparable.",
            f"{sequences.later_tests} of {len(rows)} targets of test.csv come after a listener's first and are left "
            "out: as listens they would be later than other listeners' tests.",
            f"{undated} listeners have a history of one review, whose time is not known: taken as training.",
            f"{sum(not words.description for words in items.values())} of {len(items)} items have no description; "
            "markup was taken out of texts. Items are products, written as kind `track` when the log starts; none "
            "counts as new.",
        ),
        settings=settings.model_dump(mode="json", include={"clock_start_at", "clock_days"}),
    )
