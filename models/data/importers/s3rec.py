"""Importer of sequence files in the S3-Rec format: one line per user, `user item item …` in order of time.

Users and items are numbers in the published files; a file may instead name them by text.

`NAME_item2attributes.json` ({item: [attribute, …]}) and `NAME_item_names.json` ({"id2item", "id2attribute"}) provide
the items' text if they exist next to `NAME.txt`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidestream.models.data.importers.attributes import ItemName, ItemWords, read_item_words
from sidestream.models.data.importers.lines import decode_text, line_error, read_lines
from sidestream.models.data.manifest import Clock, Manifest, Split
from sidestream.models.data.plays.builder import SESSION_LEAD_MS
from sidestream.models.data.progress import Progress, counted, ignore_progress
from sidestream.models.data.rows import HeldOutRow, ListenRow
from sidestream.models.data.settings import ImportSettings
from sidestream.models.data.writer import FolderFacts, LogFolderWriter, require_target
from sidestream.models.errors import DataError
from sidestream.models.records import CatalogItem, SessionStart
from sidestream.models.records.times import UNKNOWN_PUBLISHED_AT

DAY_MS = 86_400_000
MAX_NUMBER_DIGITS = 18


@dataclass(frozen=True, slots=True)
class UserLine:
    """One user's items in order."""

    user: str
    items: tuple[ItemName, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One position of one user's line on the synthetic clock."""

    at: int
    user: str
    item: ItemName
    position: int
    length: int


def import_s3rec(
    source: Path | str,
    target: Path | str,
    settings: ImportSettings | None = None,
    *,
    overwrite: bool = False,
    on_progress: Progress = ignore_progress,
) -> Manifest:
    """Import one sequence file into a log folder.

    Args:
        source: `NAME.txt`.
        target: The log folder to create.
        settings: Start and length of the synthetic clock.
        overwrite: Whether to replace a log folder at `target`.
        on_progress: Called with the progress.

    Returns:
        The manifest of the new folder.

    Raises:
        DataError: A line is damaged (named with its file), or one of the optional files does not fit.
    """
    path, chosen = Path(source), settings or ImportSettings()
    require_target(target, overwrite=overwrite)
    users = read_user_lines(path, on_progress)
    words = read_item_words(path)
    name = path.stem
    with LogFolderWriter(target, overwrite=overwrite) as writer:
        for item in sorted({item for line in users for item in line.items}, key=_in_order):
            writer.item(
                CatalogItem(
                    item_id=words.item_id(item),
                    kind="track",
                    title=words.title(item),
                    tags=words.tags(item),
                    at=chosen.clock_start_at,
                    published_at=UNKNOWN_PUBLISHED_AT,
                )
            )
        num_events = sum(len(line.items) for line in users)
        for event in counted(_events(users, chosen), "write events", num_events, on_progress):
            _write_event(writer, name, words, event)
        return writer.finish(_facts(path, words, chosen))


def _in_order(item: ItemName) -> tuple[int, str]:
    return (item, "") if isinstance(item, int) else (0, item)


def read_user_lines(path: Path, on_progress: Progress = ignore_progress) -> list[UserLine]:
    """Read the sequences.

    Args:
        path: `NAME.txt`.
        on_progress: Called with how far it is.

    Returns:
        Users in file order.

    Raises:
        DataError: The file is missing or empty; a line has no items, a field that is not a number (if the first line
            has numbers), or a repeated user.
    """
    users: list[UserLine] = []
    seen: dict[str, int] = {}
    is_numbers: bool | None = None
    for number, raw in counted(read_lines(path), "read lines", 0, on_progress):
        fields = decode_text(raw).split()
        if len(fields) < 2:
            raise line_error(path, number, "a user and at least one item", raw[:80])
        is_numbers = _is_numbers(fields) if is_numbers is None else is_numbers
        names = [_name(path, number, field, is_number=is_numbers) for field in fields]
        user = str(names[0])
        if user in seen:
            raise line_error(path, number, f"one line per user (user {user} has line {seen[user]})", raw[:80])
        seen[user] = number
        users.append(UserLine(user, tuple(names[1:])))
    if not users:
        msg = f"{path}:1: expected `user item item …`, got an empty file; restore the published file"
        raise DataError(msg)
    return users


def _is_numbers(fields: Sequence[str]) -> bool:
    """Tell by the first line whether a file names users and items by number, as the published ones do, or by words."""
    return not any(letter.isalpha() for field in fields for letter in field)


def _name(path: Path, line: int, field: str, *, is_number: bool) -> ItemName:
    if not is_number:
        return field
    if not (field.isascii() and field.isdigit()) or len(field) > MAX_NUMBER_DIGITS:
        raise line_error(path, line, "numbers separated by spaces", field[:80])
    return int(field)


def _events(users: Sequence[UserLine], settings: ImportSettings) -> Iterator[Event]:
    """Spread each sequence evenly over the whole clock; users are offset against each other by less than a step.

    The order inside a line is kept because position + offset is strictly increasing and steps are never below a
    millisecond for fewer events than the clock has milliseconds.
    """
    window_ms = settings.clock_days * DAY_MS
    events: list[Event] = []
    for index, line in enumerate(users):
        length = len(line.items)
        for position, item in enumerate(line.items):
            moment = (position * (len(users) + 1) + index + 1) * window_ms // (length * (len(users) + 1))
            events.append(Event(settings.clock_start_at + SESSION_LEAD_MS + moment, line.user, item, position, length))
    # A stable sort: positions of one user that share a millisecond stay in order.
    events.sort(key=lambda event: event.at)
    return iter(events)


def _write_event(writer: LogFolderWriter, name: str, words: ItemWords, event: Event) -> None:
    user = f"user-{event.user}"
    common = (f"{name}-{event.user}-{event.position}", user, words.item_id(event.item), event.at)
    held_out = event.length >= 3
    if held_out and event.position == event.length - 1:
        session_id = f"{name}-{event.user}-last"
        # The lead shifts all session-starts equally, which keeps them in order.
        writer.session(SessionStart(session_id=session_id, user_id=user, at=event.at - SESSION_LEAD_MS))
        writer.heldout(HeldOutRow(*common, role="test", session_id=session_id))
        return
    writer.listen(ListenRow(*common))
    if held_out and event.position == event.length - 2:
        writer.heldout(HeldOutRow(*common, role="valid"))


def _facts(path: Path, words: ItemWords, settings: ImportSettings) -> FolderFacts:
    return FolderFacts(
        name=path.stem,
        source=f"{path.name}, a sequence file of the S3-Rec format",
        licence="As published with the file; research copies are not to be passed on.",
        events_are="positions in a published sequence (what an act was is not in the file), not plays",
        clock=Clock(
            kind="synthetic",
            statement=f"The source knows order alone: each sequence is spread evenly over {settings.clock_days} days. "
            "Order inside a sequence is real; distances, and order between users, are not.",
        ),
        split=Split(
            protocol="leave_one_out",
            statement="Per user with three events or more the last is the test (heldout.jsonl alone, one session-start "
            "before it), the one before it validation (in listens.jsonl too), the rest training.",
        ),
        notes=words.notes,
        settings=settings.model_dump(mode="json", include={"clock_start_at", "clock_days"}),
    )
