"""How far a process is, noted ten times a second: cheap enough not to be seen in what is measured."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

INTERVAL_S = 0.1
# Of which the end holds at least one whole note.
MAX_NOTES_BYTES = 200


def note_progress(path: Path, count: Callable[[], int]) -> None:
    """Append `monotonic seconds, listens done` to a file from a thread, until the process ends.

    Args:
        path: The file; the monotonic clock is the same in every process of a machine.
        count: Listens done so far; read from another thread.
    """

    def run() -> None:
        with path.open("a") as out:
            while True:
                out.write(f"{time.monotonic():.4f} {count()}\n")
                out.flush()
                time.sleep(INTERVAL_S)

    threading.Thread(target=run, name="progress", daemon=True).start()


def read_progress(path: Path) -> list[tuple[float, int]]:
    """Read what was noted so far."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    samples = [line.split() for line in lines]
    return [(float(sample[0]), int(sample[1])) for sample in samples if len(sample) == 2]


def num_done(path: Path) -> int:
    """Read how many listens are done so far; 0 before the first note."""
    try:
        with path.open("rb") as notes:
            notes.seek(max(0, notes.seek(0, os.SEEK_END) - MAX_NOTES_BYTES))
            # The last one may be written in part.
            notes_made = notes.read().rpartition(b"\n")[0].split(b"\n")
    except OSError:
        return 0
    return int(notes_made[-1].split()[1]) if notes_made[-1] else 0
