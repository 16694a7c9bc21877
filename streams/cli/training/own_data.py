"""`sidestream import jsonl | csv | listenbrainz | spotify | movielens`: one's own listening history as a log folder."""

from collections.abc import Set
from pathlib import Path
from typing import Annotated

import typer

from sidestream.models.data.importers.histories import (
    FIELDS,
    FieldMap,
    HistoryOptions,
    ListenBrainzHistory,
    MappedHistory,
    MappedOptions,
    MovieLensHistory,
    RatingOptions,
    SpotifyHistory,
    SpotifyOptions,
    import_history,
)
from sidestream.models.data.importers.histories.fields import MISSING_WORDS
from sidestream.models.data.importers.histories.mapped import FileFormat, Moment
from sidestream.models.data.importers.histories.run import History
from sidestream.models.data.importers.histories.units import AtUnit, DurationUnit, is_format
from sidestream.models.data.plays import SplitOptions, SplitRule
from sidestream.models.data.plays.holdout import MINUTE_MS
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, progress_line, say
from sidestream.streams.cli.training.folder_facts import Overwrite, manifest_facts
from sidestream.streams.errors import SettingsError
from sidestream.streams.operate.deadletters import parse_moment
from sidestream.streams.runtime.clock import WallClock

# A year; infinity is no number of milliseconds.
MAX_GAP_MINUTES = 366 * 24 * 60
Dst = Annotated[Path, typer.Argument(help="Log folder to make.")]
Split = Annotated[
    SplitRule,
    typer.Option(
        "--split",
        help="Hold out for evaluation: each listener's last play, last session, the plays after a time, or none.",
    ),
]
SessionGap = Annotated[
    float,
    typer.Option(
        "--session-gap",
        min=0,
        max=MAX_GAP_MINUTES,
        help="Minutes without a play after which a session ends.",
        show_default=True,
    ),
]
ValidFrom = Annotated[
    str | None,
    typer.Option(
        help="With --split time: start of validation: 2026-03-01 (UTC), epoch ms, or 7d: seven days before now; "
        "default: after 80 % of the plays."
    ),
]
TestFrom = Annotated[
    str | None,
    typer.Option(
        help="With --split time: start of the test: 2026-03-01 (UTC), epoch ms, or 7d: seven days before now, not "
        "before the last play; default: after 90 % of the plays."
    ),
]
MaxDamaged = Annotated[
    float,
    typer.Option("--max-damaged", min=0, max=100, help="Refuse files with more than this percentage of damaged rows."),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help=f"FIELD=COLUMN or FIELD=path.in.json; may repeat. Fields: {', '.join(FIELDS)}. Usual names are found.",
    ),
]
Constant = Annotated[
    list[str] | None,
    typer.Option("--constant", help="FIELD=VALUE where a row has none: kind=episode; may repeat."),
]
AtUnitOption = Annotated[
    AtUnit,
    typer.Option(
        "--at-unit", help="Unit of times; auto detects it, and refuses what is ambiguous. Times without a zone are UTC."
    ),
]
AtFormat = Annotated[
    str | None,
    typer.Option(
        "--at-format",
        help="Format of times for Python's strptime, such as '%d.%m.%Y %H:%M'; default: numbers, ISO 8601, and dates "
        "with the English name of the month.",
    ),
]
AtIs = Annotated[
    Moment,
    typer.Option(
        "--at-is",
        help="Whether a time is the start or the end of a play; auto: the end, unless the column is called started_at "
        "or start_time.",
    ),
]
DurationUnitOption = Annotated[
    DurationUnit,
    typer.Option("--duration-unit", help="Unit of durations and of time listened; auto: detected for each column."),
]
Signals = Annotated[
    list[str] | None,
    typer.Option("--signal", help="WORD=SIGNAL for other names of signals, such as heart=like; may repeat."),
]
ItemsFile = Annotated[
    Path | None,
    typer.Option(
        "--items",
        help="File with the items, in the same format, one row each; default: items are taken from the plays.",
    ),
]
ItemMap = Annotated[list[str] | None, typer.Option("--item-map", help="FIELD=COLUMN of that file; may repeat.")]
User = Annotated[
    str | None, typer.Option("--user", help="Listener of rows that name none; default: as the source says.")
]
TagsSeparator = Annotated[str, typer.Option("--tags-separator", help="Separator of several tags in one text.")]


def jsonl(
    ctx: typer.Context,
    src: Annotated[str, typer.Argument(help="JSON lines or a JSON array, also compressed; - for stdin.")],
    dst: Dst,
    paths: Map = None,
    constants: Constant = None,
    at_unit: AtUnitOption = "auto",
    at_format: AtFormat = None,
    at_is: AtIs = "auto",
    unit: DurationUnitOption = "auto",
    signals: Signals = None,
    items: ItemsFile = None,
    item_map: ItemMap = None,
    user: User = None,
    tags_separator: TagsSeparator = "|",
    split: Split = "last",
    session_gap: SessionGap = 30.0,
    valid_from: ValidFrom = None,
    test_from: TestFrom = None,
    max_damaged: MaxDamaged = 1.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Import plays from JSON: one object a play, fields by name or path."""
    how = _mapped(paths, constants, at_unit, at_format, at_is, unit, signals, items, item_map, user, tags_separator)
    options = _options(ctx, split, session_gap, valid_from, test_from, max_damaged, overwrite=overwrite)
    _import_mapped(src, "jsonl", how, dst, options, as_json=as_json)


def csv(
    ctx: typer.Context,
    src: Annotated[str, typer.Argument(help="CSV or TSV with a header, also compressed; - for stdin.")],
    dst: Dst,
    paths: Map = None,
    constants: Constant = None,
    at_unit: AtUnitOption = "auto",
    at_format: AtFormat = None,
    at_is: AtIs = "auto",
    unit: DurationUnitOption = "auto",
    signals: Signals = None,
    items: ItemsFile = None,
    item_map: ItemMap = None,
    user: User = None,
    tags_separator: TagsSeparator = "|",
    columns: Annotated[
        str | None,
        typer.Option(help="Column names of a file without a header, such as user,item,at; default: the header."),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Character between fields; default: detected among comma, tab, ; and |.")
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(
            help="Words that mean no value, such as NULL,- ('': no word does); default: those of pandas (NaN, None, "
            "NULL, N/A, …), \\N and -."
        ),
    ] = None,
    split: Split = "last",
    session_gap: SessionGap = 30.0,
    valid_from: ValidFrom = None,
    test_from: TestFrom = None,
    max_damaged: MaxDamaged = 1.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Import plays from CSV: one row a play, columns by name."""
    if delimiter is not None and len(delimiter.replace("\\t", "\t")) != 1:
        msg = f"--delimiter: expected one character, got {delimiter!r}"
        raise SettingsError(msg)
    how = _mapped(
        paths, constants, at_unit, at_format, at_is, unit, signals, items, item_map, user, tags_separator,
        tuple(name.strip() for name in columns.split(",")) if columns else (),
        delimiter and delimiter.replace("\\t", "\t"),
        MISSING_WORDS if missing is None else frozenset(word.strip() for word in missing.split(",")),
    )  # fmt: skip
    options = _options(ctx, split, session_gap, valid_from, test_from, max_damaged, overwrite=overwrite)
    _import_mapped(src, "csv", how, dst, options, as_json=as_json)


def listenbrainz(
    ctx: typer.Context,
    src: Annotated[str, typer.Argument(help="Dump or export: folder, zip, tar.xz or a file of listens; - for stdin.")],
    dst: Dst,
    user: User = None,
    split: Split = "last",
    session_gap: SessionGap = 30.0,
    valid_from: ValidFrom = None,
    test_from: TestFrom = None,
    max_damaged: MaxDamaged = 1.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Import ListenBrainz listens: dumps of all users, or the export of one."""
    options = _options(ctx, split, session_gap, valid_from, test_from, max_damaged, overwrite=overwrite)
    _import(ListenBrainzHistory(src, user), dst, options, as_json=as_json)


def spotify(
    ctx: typer.Context,
    src: Annotated[
        str,
        typer.Argument(help="Extended streaming history: zip, folder or a file; or a folder with one of each account."),
    ],
    dst: Dst,
    user: User = None,
    private: Annotated[bool, typer.Option("--private", help="Also import plays of private sessions.")] = False,
    split: Split = "last",
    session_gap: SessionGap = 30.0,
    valid_from: ValidFrom = None,
    test_from: TestFrom = None,
    max_damaged: MaxDamaged = 1.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Import Spotify's extended streaming history.

    Music, podcasts and audiobooks.
    """
    options = _options(ctx, split, session_gap, valid_from, test_from, max_damaged, overwrite=overwrite)
    _import(SpotifyHistory(src, SpotifyOptions(user, private)), dst, options, as_json=as_json)


def movielens(
    ctx: typer.Context,
    src: Annotated[Path, typer.Argument(help="NAME.inter of RecBole's atomic files, or the folder with it.")],
    dst: Dst,
    liked_from: Annotated[float, typer.Option(help="Lowest rating that is a like.")] = 4.0,
    disliked_until: Annotated[float, typer.Option(help="Highest rating that is a dislike.")] = 2.0,
    split: Split = "last",
    session_gap: SessionGap = 30.0,
    valid_from: ValidFrom = None,
    test_from: TestFrom = None,
    max_damaged: MaxDamaged = 1.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Import rating data in RecBole's atomic files.

    MovieLens is one; these are ratings, not plays.
    """
    options = _options(ctx, split, session_gap, valid_from, test_from, max_damaged, overwrite=overwrite)
    _import(MovieLensHistory(src, RatingOptions(liked_from, disliked_until)), dst, options, as_json=as_json)


def split_options(
    split: SplitRule, session_gap: float, valid_from: str | None, test_from: str | None, now_ms: int
) -> SplitOptions:
    """Read what a command line says of a split.

    Args:
        split: The rule.
        session_gap: In minutes.
        valid_from: A moment, or None.
        test_from: A moment, or None.
        now_ms: The present.

    Returns:
        The split.

    Raises:
        SettingsError: A moment cannot be read, or is given for a rule that has no use for it.
    """
    if split != "time" and (valid_from or test_from):
        msg = f"--valid-from and --test-from: expected --split time, got --split {split}"
        raise SettingsError(msg)
    return SplitOptions(
        split,
        round(session_gap * MINUTE_MS),
        None if valid_from is None else parse_moment(valid_from, now_ms),
        None if test_from is None else parse_moment(test_from, now_ms),
    )


def _options(
    ctx: typer.Context,
    split: SplitRule,
    session_gap: float,
    valid_from: str | None,
    test_from: str | None,
    max_damaged: float,
    *,
    overwrite: bool,
) -> HistoryOptions:
    return HistoryOptions(
        split=split_options(split, session_gap, valid_from, test_from, WallClock()()),
        max_damaged=max_damaged / 100,
        memory_bytes=settings_of(ctx).importing.sort_memory_mb << 20,
        overwrite=overwrite,
    )


def _mapped(
    paths: list[str] | None,
    constants: list[str] | None,
    at_unit: AtUnit,
    at_format: str | None,
    at_is: Moment,
    unit: DurationUnit,
    signals: list[str] | None,
    items: Path | None,
    item_map: list[str] | None,
    user: str | None,
    tags_separator: str,
    columns: tuple[str, ...] = (),
    delimiter: str | None = None,
    missing: Set[str] = MISSING_WORDS,
) -> MappedOptions:
    words: dict[str, str] = {}
    for assignment in signals or ():
        word, equals, ours = assignment.rpartition("=")
        if not equals:
            msg = f"--signal {assignment}: expected WORD=SIGNAL, such as heart=like"
            raise SettingsError(msg)
        words[word] = ours
    if at_format is not None and (at_unit != "auto" or not is_format(at_format)):
        msg = f"--at-format: expected a format such as '%d.%m.%Y %H:%M', without --at-unit, got {at_format!r}"
        raise SettingsError(msg)
    if item_map and items is None:
        msg = "--item-map: expected --items FILE with it, got none"
        raise SettingsError(msg)
    return MappedOptions(
        FieldMap.parse(paths or (), constants or ()), items, FieldMap.parse(item_map or (), ()), at_format or at_unit,
        at_is, unit, words, tags_separator, columns, delimiter, user, missing,
    )  # fmt: skip


def _import_mapped(
    src: str, file_format: FileFormat, how: MappedOptions, dst: Path, options: HistoryOptions, *, as_json: bool
) -> None:
    history = MappedHistory(src, file_format, how)
    _import(history, dst, options, as_json=as_json)
    for warning in history.warnings:
        say(f"warning: {warning}")


def _import(history: History, dst: Path, options: HistoryOptions, *, as_json: bool) -> None:
    with progress_line() as step:
        manifest = import_history(history, dst, options, on_progress=step)
    print_facts(manifest_facts(manifest, dst), as_json=as_json)
