"""A worker that writes down which of our files one record passes: `python -m tests.bench.layout_study.traced_worker`.

Arguments: a JSON object of dotted setting names, a file for the trace. SIGRTMIN+N arms the trace for the N-th path of
`PATHS`: it begins with the next call of the path's first function and ends with the return of its last one, when the
files are written as a JSON list. Calls are filed under the outermost of our frames below the event loop's step, and
only those of the path's own tasks count: what runs at the same time (health checks, other lanes) does not. The profile
function of the event loop's thread sees the path itself; the tokenizer and the model, called once in a thread of their
own, are counted by the paths `..._with_threads` only.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import sidestream
from sidestream.streams.app import run_worker
from sidestream.streams.settings import load_settings

OURS = str(Path(sidestream.__file__).parent) + os.sep
TASK_STEP = asyncio.Handle._run.__code__


@dataclass(frozen=True)
class Way:
    """The way of one kind of record through our files.

    Args:
        first: `file:function` whose call begins it.
        last: `file:function` whose return ends it.
        roots: Folders, files and `file:function` of the tasks and threads that work on it.
        threads: Whether calls in other threads than the event loop's count.
    """

    first: str
    last: str
    roots: tuple[str, ...]
    threads: bool = False


_LISTEN = Way(
    "streams/listens/folding.py:Folding._process",
    "streams/listens/table/partition.py:PartitionTable.write",
    ("streams/listens/", "streams/runtime/waiting.py"),
)
_ITEM = Way(
    "streams/tokenizing/agent.py:CatalogAgent._process_batch",
    "streams/catalogue/current.py:CurrentCatalogue.build",
    (
        "streams/tokenizing/agent.py:CatalogAgent._run",
        "streams/tokenizing/agent.py:CatalogAgent._make_records",
        "streams/catalogue/",
        "streams/generations/loaded.py",
    ),
)
_SESSION = Way(
    "streams/sessions/lane.py:SessionLane._handle",
    "streams/sessions/lane.py:SessionLane._send",
    ("streams/sessions/", "models/"),
)
PATHS = {
    "listen": _LISTEN,
    "item": _ITEM,
    "session": _SESSION,
    "item_with_threads": replace(_ITEM, threads=True),
    "session_with_threads": replace(_SESSION, threads=True),
}


class Trace:
    """Files of one path at a time.

    Args:
        target: File that gets them when the path has ended.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path: Way | None = None
        self._begun = False
        self._files: set[str] = set()
        self._ours: dict[CodeType, str | None] = {}

    def arm(self, path: Way) -> None:
        """Wait for the next record of a path."""
        self._files, self._begun, self._path = set(), False, path

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """Take one event; this is the profile function of every thread."""
        del arg
        path = self._path
        if path is None or event not in ("call", "return"):
            return
        file = self._file(frame.f_code)
        if file is None:
            return
        name = f"{file}:{frame.f_code.co_qualname}"
        if event == "return":
            if self._begun and name == path.last:
                self._end()
            return
        self._begun |= name == path.first
        if not path.threads and threading.current_thread() is not threading.main_thread():
            return
        if self._begun and self._root(frame, name).startswith(path.roots):
            self._files.add(file)

    def _root(self, frame: FrameType, root: str) -> str:
        above = frame.f_back
        while above is not None and above.f_code is not TASK_STEP:
            if (file := self._file(above.f_code)) is not None:
                root = f"{file}:{above.f_code.co_qualname}"
            above = above.f_back
        return root

    def _end(self) -> None:
        self._path = None
        whole = self._target.with_suffix(".writing")
        whole.write_text(json.dumps(sorted(self._files)))
        whole.rename(self._target)

    def _file(self, code: CodeType) -> str | None:
        try:
            return self._ours[code]
        except KeyError:
            name = code.co_filename
            file = self._ours[code] = name.removeprefix(OURS) if name.startswith(OURS) else None
            return file


def main() -> int:
    """Run a worker under the trace."""
    settings, _ = load_settings(json.loads(sys.argv[1]))
    trace = Trace(Path(sys.argv[2]))
    for number, path in enumerate(PATHS.values()):
        signal.signal(signal.SIGRTMIN + number, lambda *_, path=path: trace.arm(path))
    threading.setprofile(trace)
    sys.setprofile(trace)
    return run_worker(settings)


if __name__ == "__main__":
    sys.exit(main())
