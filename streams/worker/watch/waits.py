"""Where the tasks of an event loop wait, told from another thread: what the log needs of a worker that did nothing."""

import asyncio
import inspect
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from types import CodeType
from typing import Any

import sidestream.streams

_OURS = str(Path(sidestream.streams.__file__).parent)
_CALLS_SHOWN = 6
# A worker has some forty tasks that lead through its own code.
_TASKS_SHOWN = 60


def task_waits(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Name the awaits of each task that goes through this package, from the outermost in.

    Nothing is stopped meanwhile: of a loop that runs, what is told may be of different moments.

    Args:
        loop: The event loop; of another thread, too.

    Returns:
        One line for each place, with the number of tasks that wait there.
    """
    try:
        tasks = asyncio.all_tasks(loop)
    except RuntimeError:  # the set changed under all of its tries
        return []
    places = Counter(place for task in tasks if (place := _place(task.get_coro())))
    return [f"{count} x {place}" if count > 1 else place for place, count in sorted(places.items())][:_TASKS_SHOWN]


def _place(awaited: Coroutine[Any, Any, Any] | Any) -> str | None:
    calls, is_ours = [], False
    while (step := _step(awaited)) is not None:
        code, line, awaited = step
        calls.append(f"{code.co_name} ({Path(code.co_filename).name}:{line})")
        is_ours = is_ours or code.co_filename.startswith(_OURS)
    return " > ".join(calls[-_CALLS_SHOWN:]) if is_ours else None


def _step(awaited: Any) -> tuple[CodeType, int, Any] | None:
    """Take one await apart: whose code, at which line, and what it waits for; none where it leaves Python."""
    if inspect.iscoroutine(awaited):
        code, frame, inner = awaited.cr_code, awaited.cr_frame, awaited.cr_await
    elif inspect.isgenerator(awaited):
        code, frame, inner = awaited.gi_code, awaited.gi_frame, awaited.gi_yieldfrom
    else:
        return None
    return code, frame.f_lineno if frame is not None else code.co_firstlineno, inner
