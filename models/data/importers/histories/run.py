"""Import of a listening history into a log folder, common to all formats."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from sidestream.models.data.manifest import Clock, Manifest
from sidestream.models.data.plays import FolderBuilder, Items, Play, RowReport, SplitOptions
from sidestream.models.data.plays.holdout import split_statement
from sidestream.models.data.progress import Progress, counted, ignore_progress
from sidestream.models.data.writer import FolderFacts, LogFolderWriter
from sidestream.models.errors import DataError

# Clocks differ, and a file may be read on a machine in a time zone behind the one that wrote it.
CLOCK_SLACK_MS = 86_400_000
ITEMS_NOTE = "All items are written when the log starts; one of unknown publication does not count as new."


@dataclass(frozen=True, slots=True)
class HistoryFacts:
    """Description of a source, available once it has been read.

    Attributes:
        name: Short name for display.
        source: Where the data comes from.
        licence: Terms under which it may be used.
        events_are: What one play is.
        clock: Meaning of `at`, in words.
        notes: Anomalies found, and what was filled in.
        settings: Settings used to create the folder.
    """

    name: str
    source: str
    licence: str
    events_are: str
    clock: str
    notes: tuple[str, ...] = ()
    settings: Mapping[str, JsonValue] = field(default_factory=dict)


class History(Protocol):
    """A file or folder of plays in one format."""

    def plays(self, items: Items, report: RowReport, latest_at: int) -> Iterator[Play]:
        """Read the plays, in any order.

        Args:
            items: Collects the items.
            report: Collects damaged and omitted rows.
            latest_at: Latest valid time, UTC epoch ms.

        Returns:
            Plays, read lazily.

        Raises:
            DataError: The source cannot be read.
        """
        ...

    def facts(self) -> HistoryFacts:
        """Describe the source; called at the end."""
        ...


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """Options of an import, common to all formats.

    Attributes:
        split: How plays are held out.
        max_damaged: Share of damaged rows above which nothing is written.
        memory_bytes: Memory for sorting.
        overwrite: Whether to replace a log folder at the target.
    """

    split: SplitOptions = field(default_factory=SplitOptions)
    max_damaged: float = 0.01
    memory_bytes: int = 256 << 20
    overwrite: bool = False


def import_history(
    history: History,
    target: Path | str,
    options: HistoryOptions | None = None,
    *,
    on_progress: Progress = ignore_progress,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Manifest:
    """Import a listening history into a log folder.

    Args:
        history: The source.
        target: The log folder to create.
        options: Split, damage and memory.
        on_progress: Called with the progress.
        now_ms: The clock.

    Returns:
        The manifest of the new folder.

    Raises:
        DataError: The source cannot be read, has too many damaged rows, or no plays.
    """
    chosen = options or HistoryOptions()
    report, items = RowReport(chosen.max_damaged), Items()
    with LogFolderWriter(target, overwrite=chosen.overwrite) as writer:
        builder = FolderBuilder(writer, chosen.split, report, chosen.memory_bytes)
        plays = history.plays(items, report, now_ms() + CLOCK_SLACK_MS)
        for play in counted(plays, "read plays", 0, on_progress):
            builder.add(play)
        report.check()
        facts = history.facts()
        if not builder.num_plays:
            reasons = "; ".join(report.notes) or "it has no rows"
            msg = f"{facts.source}: expected plays, got none: {reasons}"
            raise DataError(msg)
        for item in counted(items.records(builder.first_at), "write items", len(items), on_progress):
            writer.item(item)
        builder.build(items.item_id, on_progress)
        return writer.finish(
            FolderFacts(
                name=facts.name,
                source=facts.source,
                licence=facts.licence,
                events_are=facts.events_are,
                clock=Clock(kind="real", statement=facts.clock),
                split=split_statement(chosen.split),
                cuts=builder.cuts,
                notes=(*report.notes, *facts.notes, ITEMS_NOTE),
                settings={
                    "split": chosen.split.rule,
                    "session_gap_ms": chosen.split.gap_ms,
                    "max_damaged": chosen.max_damaged,
                    **facts.settings,
                },
            )
        )
