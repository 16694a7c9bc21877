"""Where the tasks of an event loop are waiting, read from another thread, for the log of a worker without progress."""

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
    """Describe the await chain of each task that runs through this package, from the outermost call in.

    The loop is not stopped: if it runs, the lines may be of different moments.

    Args:
        loop: The event loop; it may belong to another thread.

    Returns:
        One line per place, with the number of tasks that wait there.
    """
    try:
        tasks = asyncio.all_tasks(loop)
    except RuntimeError:  # the set of tasks changed during each of its attempts
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
    """Return code, line and awaited object of one await; `None` for an object that is not Python code."""
    if inspect.iscoroutine(awaited):
        code, frame, inner = awaited.cr_code, awaited.cr_frame, awaited.cr_await
    elif inspect.isgenerator(awaited):
        code, frame, inner = awaited.gi_code, awaited.gi_frame, awaited.gi_yieldfrom
    else:
        return None
    return code, frame.f_lineno if frame is not None else code.co_firstlineno, inner
