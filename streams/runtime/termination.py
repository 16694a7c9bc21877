"""Termination signals: SIGHUP acts like SIGTERM, and both clean up like Ctrl-C.

By default SIGTERM and SIGHUP kill Python immediately: `finally` blocks are skipped, and a local Kafka or a child worker
keeps running. Here both raise an exception in the main thread; the worker, whose event loop handles signals itself,
shuts down gracefully instead. A command that runs an event loop runs it by `run`: there a signal cancels the command's
coroutine, since an exception raised inside the loop may be swallowed by whatever was running.

A signal that is ignored when the process starts stays ignored, as `nohup` requires.
"""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, NoReturn, TypeVar

INTERRUPTED = 130
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))

T = TypeVar("T")

_received: list[int] = []
_cancel: list[Callable[[], object]] = []  # what a signal does while `run` runs a coroutine


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP was received; handled like Ctrl-C."""


def install_handlers() -> None:
    """Make SIGTERM and SIGHUP raise `Terminated`, once; later signals have no effect.

    Closing a terminal sends SIGHUP twice (by the kernel and the shell), systemd sends SIGTERM and SIGHUP: the second
    signal must not interrupt the cleanup.
    """
    for number in _SIGNALS:
        if not is_ignored(number):
            signal.signal(number, _raise)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop, as `asyncio.run` does; SIGTERM and SIGHUP cancel it, as Ctrl-C does.

    Args:
        main: Coroutine to run.

    Returns:
        Its result.

    Raises:
        Terminated: A signal was received; the coroutine has ended by then.
    """

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is not None:
            _cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))
        return await main

    try:
        result = asyncio.run(cancellable())
    except asyncio.CancelledError:
        if _received:
            raise Terminated from None
        raise
    finally:
        _cancel.clear()
    if _received:
        raise Terminated
    return result


def is_ignored(number: int) -> bool:
    """Whether the process was started with this signal ignored."""
    return signal.getsignal(number) is signal.SIG_IGN


def ignore_signals() -> None:
    """Ignore SIGTERM and SIGHUP from now on, so that the shutdown is not interrupted."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_by_exit_code() -> None:
    """Let the process end with its exit code: what the signal asked for has been done, as in a single worker."""
    _received.clear()


def exit_process(code: str | int | None) -> None:
    """End the process: by the signal that it received, unless that was dealt with, else with the exit code."""
    if _received:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue  # the reader is gone
        signal.signal(_received[0], signal.SIG_DFL)
        os.kill(os.getpid(), _received[0])
    sys.exit(code)


def end_by_closed_output() -> NoReturn:
    """End the process by SIGPIPE: nothing reads its output any more. Python itself ignores that signal."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    sys.exit(1)  # not reached: the signal is not blocked


def redirect_lost_terminal() -> None:
    """Redirect output to a closed terminal to the null device, since writing to it would raise an error."""
    for descriptor in (1, 2):
        try:
            is_lost = stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor)
        except OSError:
            continue  # closed from the start
        if is_lost:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)


def _raise(number: int, frame: FrameType | None) -> None:
    del frame
    if _received:
        return
    _received.append(number)
    redirect_lost_terminal()
    if not _cancel:
        raise Terminated
    _cancel[0]()
