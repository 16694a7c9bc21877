"""Check of a log folder: every row, every reference between files, and the manifest against the files.

Readers stop at the first fault; here all faults are reported with file and line. A folder created by hand that passes
can be sealed: its manifest is written from the counts.
"""

from pathlib import Path

from sidestream.models.data.checks.rows import FolderCheck, RowScan, files_alike
from sidestream.models.data.log_folder import MANIFEST_FILE, TOPIC_FILES, LogFolder
from sidestream.models.data.manifest import Clock, Counts, FileEntry, Manifest, Split
from sidestream.models.data.progress import Progress, ignore_progress
from sidestream.models.data.quantities import quantity
from sidestream.models.data.writer import FolderFacts
from sidestream.models.errors import DataError
from sidestream.models.records.times import describe_at
from sidestream.tokenizer.durable import replace_file
from sidestream.tokenizer.folders import recover_folder

CUTS_OF_TIME = ("valid_from", "test_from")


def check_folder(path: Path | str, on_progress: Progress = ignore_progress) -> FolderCheck:
    """Check a log folder.

    Args:
        path: The folder. Memory holds its item ids, its listeners and its held-out rows.
        on_progress: Called with the progress.

    Returns:
        The result.
    """
    check = FolderCheck(Path(path))
    try:
        check.manifest = LogFolder(check.path).manifest
    except DataError as error:
        check.num_problems += 1
        check.problems.append(f"{error} (`sidestream log seal` writes the manifest of a folder made by hand)")
    scan = RowScan(check, on_progress)
    scan.read()
    if check.manifest is not None:
        _compare(check, check.manifest)
        scan.heldout.compare(check.manifest)
    return check


def seal_folder(path: Path | str, facts: FolderFacts) -> Manifest:
    """Write the manifest of a folder created by hand.

    Args:
        path: The folder; its rows must be valid. An existing manifest is replaced.
        facts: Fields of the manifest other than counts and hashes.

    Returns:
        The manifest.

    Raises:
        DataError: A row is invalid, or the rows do not fit the split.
    """
    check = FolderCheck(Path(path))
    recover_folder(check.path)
    _make_missing(check.path)
    scan = RowScan(check)
    scan.read()
    times = [at for file in check.files for at in (file.first_at, file.last_at) if at is not None]
    manifest = Manifest(
        name=facts.name,
        source=facts.source,
        licence=facts.licence,
        events_are=facts.events_are,
        clock=facts.clock,
        first_at=min(times, default=None),
        last_at=max(times, default=None),
        cuts=dict(facts.cuts),
        split=facts.split,
        counts=check.counts,
        files={file.name: FileEntry(bytes=file.bytes, lines=file.rows, sha256=file.sha256) for file in check.files},
        notes=facts.notes,
        settings=dict(facts.settings),
    )
    _compare(check, manifest)
    scan.heldout.compare(manifest)
    if not check.is_sound:
        found = quantity(check.num_problems, "problem")
        msg = f"{found}, the first: {check.problems[0]}; `sidestream log check` lists them all"
        raise DataError(msg)
    replace_file(check.path / MANIFEST_FILE, manifest.to_json())
    return manifest


def _make_missing(folder: Path) -> None:
    """Create the files that may be missing in a folder without sessions or a split."""
    if not (folder / TOPIC_FILES["catalog"]).is_file():
        msg = f"{folder / TOPIC_FILES['catalog']}: expected the items, one a line, got no such file"
        raise DataError(msg)
    for name in TOPIC_FILES.values():
        if not (folder / name).exists() and (alike := files_alike(folder, name)):
            msg = (
                f"{folder / name}: expected the rows in this file, got {' and '.join(alike)}; decompress or rename it, "
                f"or move it away to make an empty {name}"
            )
            raise DataError(msg)
    for name in TOPIC_FILES.values():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def made_by_hand(name: str, events_are: str, clock: Clock, split: Split, cuts: dict[str, int]) -> FolderFacts:
    """Create the facts for the manifest of a folder created by hand.

    Args:
        name: Short name for display.
        events_are: What one listen is.
        clock: Whether times are real.
        split: How rows are held out.
        cuts: Cut times by name.

    Returns:
        The facts.
    """
    return FolderFacts(name, "made by hand", "Your own data: no terms are known.", events_are, clock, split, cuts)


def _compare(check: FolderCheck, manifest: Manifest) -> None:
    """Compare the manifest with the files."""
    found = {file.name: file for file in check.files}
    for name in {**manifest.files, **found}:
        entry, file = manifest.files.get(name), found.get(name)
        if entry is None:
            check.report(MANIFEST_FILE, None, f"expected an entry for {name} under files, got none")
        elif file is None:
            if name not in TOPIC_FILES.values():
                check.report(MANIFEST_FILE, None, f"expected {', '.join(TOPIC_FILES.values())} under files, got {name}")
        elif file.sha256 != entry.sha256:
            got = f"{file.sha256[:12]}… of {file.rows:,}"
            what = f"expected sha256 {entry.sha256[:12]}… of {entry.lines:,} rows, got {got}"
            check.report(name, None, what)
        elif (file.bytes, file.rows) != (entry.bytes, entry.lines):
            got = f"{entry.bytes:,} bytes and {entry.lines:,} lines"
            what = f"expected {file.bytes:,} bytes and {file.rows:,} lines of {name} as in the file, got {got}"
            check.report(MANIFEST_FILE, None, what)
    for name in Counts.model_fields:
        said, counted = getattr(manifest.counts, name), getattr(check.counts, name)
        if said != counted:
            check.report(MANIFEST_FILE, None, f"expected counts.{name} {counted:,} as in the rows, got {said:,}")
    times = [at for file in check.files for at in (file.first_at, file.last_at) if at is not None]
    for name, at in (("first_at", min(times, default=None)), ("last_at", max(times, default=None))):
        if getattr(manifest, name) != at:
            check.report(MANIFEST_FILE, None, f"expected {name} {at} as in the rows, got {getattr(manifest, name)}")
    _compare_split(check, manifest)


def _compare_split(check: FolderCheck, manifest: Manifest) -> None:
    protocol, counts = manifest.split.protocol, check.counts
    if protocol == "none" and counts.heldout_test + counts.heldout_valid:
        check.report(MANIFEST_FILE, None, "expected a split other than none, since heldout.jsonl has rows")
    if protocol != "none" and not counts.heldout_test:
        check.report(MANIFEST_FILE, None, f"expected test rows in heldout.jsonl for split {protocol}, got none")
    if protocol != "global_time":
        return
    for name in CUTS_OF_TIME:
        if name not in manifest.cuts:
            check.report(MANIFEST_FILE, None, f"expected cuts.{name} for split global_time, got none")
    valid_from, test_from = (manifest.cuts.get(name) for name in CUTS_OF_TIME)
    if valid_from is not None and test_from is not None and valid_from > test_from:
        what = f"expected cuts.valid_from <= cuts.test_from, got {valid_from} and {test_from}"
        check.report(MANIFEST_FILE, None, what)
    listens = next((file for file in check.files if file.name == TOPIC_FILES["listens"]), None)
    if test_from is not None and listens is not None and (listens.last_at or 0) >= test_from:
        before, last_at = describe_at(test_from), listens.last_at or 0
        what = (
            f"expected listens before cuts.test_from {test_from} ({before} UTC), got one at {last_at} "
            f"({describe_at(last_at)} UTC)"
        )
        check.report(listens.name, None, what)
