"""`sidestream log check | seal`: log folders as such."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from sidestream.models.data.check import CUTS_OF_TIME, check_folder, made_by_hand, seal_folder
from sidestream.models.data.manifest import Clock, Split
from sidestream.models.data.quantities import quantity
from sidestream.models.records.times import event_time_fault
from sidestream.streams.cli.options import Json, not_empty
from sidestream.streams.cli.output import fail, print_facts, print_json, print_rows, progress_line, say
from sidestream.streams.cli.training.folder_facts import manifest_facts
from sidestream.streams.errors import SettingsError

_MS = re.compile(r"\d{1,20}")
Folder = Annotated[Path, typer.Argument(help="Log folder.")]
Protocol = Literal["none", "leave_one_out", "last_session", "global_time"]


def check(folder: Folder, as_json: Json = False) -> None:
    """Check every row and reference of a log folder.

    Its manifest too; exit code 1 if something is wrong.
    """
    with progress_line() as step:
        found = check_folder(folder, step)
    files = [
        {
            "file": file.name, "rows": file.rows, "bytes": file.bytes,
            "first_at": file.first_at, "last_at": file.last_at,
        }
        for file in found.files
    ]  # fmt: skip
    manifest = found.manifest
    counts = found.counts.model_dump()
    if as_json:
        facts = None if manifest is None else manifest_facts(manifest, folder)
        print_json(
            {
                "is_sound": found.is_sound, "files": files, "counts": counts, "manifest": facts,
                "num_problems": found.num_problems, "problems": found.problems,
            }
        )  # fmt: skip
    else:
        if any(file.rows for file in found.files):  # nothing is said by a table of zeros
            print_rows(files, ["file", "rows", "bytes", "first_at", "last_at"], as_json=False)
            print_facts(counts if manifest is None else {**manifest_facts(manifest, folder), **counts}, as_json=False)
        for problem in found.problems:
            fail(problem)
        more = found.num_problems - len(found.problems)
        say(f"{quantity(found.num_problems, 'problem')}{f', {more:,} of them not shown' if more else ''}")
    if not found.is_sound:
        raise typer.Exit(1)


def seal(
    folder: Folder,
    name: Annotated[str, typer.Option(callback=not_empty, help="Short name of the data.")] = "own",
    events_are: Annotated[str, typer.Option(callback=not_empty, help="What one listen is, such as plays.")] = "plays",
    split: Annotated[Protocol, typer.Option(help="How the rows of heldout.jsonl were chosen.")] = "none",
    cuts: Annotated[
        list[str] | None,
        typer.Option("--cut", help="With --split global_time: valid_from=MS and test_from=MS; may repeat."),
    ] = None,
    clock: Annotated[Literal["real", "synthetic"], typer.Option(help="Whether the times are real.")] = "real",
    as_json: Json = False,
) -> None:
    """Write the manifest of a log folder that was made by hand.

    Files that are missing are made empty.
    """
    facts = made_by_hand(
        name,
        events_are,
        Clock(kind=clock, statement="As it was written by hand."),
        Split(protocol=split, statement=f"Chosen by hand, as {split}."),
        _cuts(cuts or []),
    )
    print_facts(manifest_facts(seal_folder(folder, facts), folder), as_json=as_json)


def _cuts(given: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for assignment in given:
        name, _, value = assignment.partition("=")
        if name not in CUTS_OF_TIME or not _MS.fullmatch(value):
            msg = f"--cut {assignment}: expected NAME=MS, such as test_from=1767571200000"
            raise SettingsError(msg)
        if fault := event_time_fault(int(value)):
            msg = f"--cut {assignment}: {fault}"
            raise SettingsError(msg)
        found[name] = int(value)
    return found
