"""Runs a worker in this process until a signal stops it or it fails, and logs the reason in one line.

Exit codes: 0 after SIGTERM, SIGHUP or SIGINT, 1 if it could not start, 70 after a crash; the watchdog has others.
"""

import os
import signal
import sys
import threading
import time

import faust

from sidestream.streams.errors import SidestreamError
from sidestream.streams.runtime.garbage_collection import rare_collections
from sidestream.streams.runtime.logs.log import get_log, quiet_libraries
from sidestream.streams.runtime.termination import is_ignored, redirect_lost_terminal
from sidestream.streams.worker.build import WorkerParts
from sidestream.streams.worker.watch.watchdog import ExitCode

_log = get_log(__name__)

# Their pools are shut down by now: a thread that is still alive after this time hangs in a call.
_OUR_THREADS = ("engine", "fallback", "catalogue", "tokenizer", "generations", "asyncio")
_STUCK_S = 2.0


class _Worker(faust.Worker):
    """Faust's worker with its handling of signals and of the loop, but our logging and exit codes."""

    failure: BaseException | None = None

    async def start(self) -> None:
        """Start, and keep the exception of a failed start: the base class reduces it to an exit code."""
        try:
            await super().start()
        except Exception as exc:
            self.failure = exc
            raise

    def install_signal_handlers(self) -> None:
        """Handle SIGTERM and SIGINT as Faust does, and SIGHUP like SIGTERM unless it is ignored (`nohup`)."""
        super().install_signal_handlers()
        if hasattr(signal, "SIGHUP") and not is_ignored(signal.SIGHUP):
            self.loop.add_signal_handler(signal.SIGHUP, self._on_sighup)

    def _on_sighup(self) -> None:
        redirect_lost_terminal()
        self._schedule_shutdown(signal.SIGTERM)


def run(parts: WorkerParts) -> int:
    """Run a worker until it ends.

    Args:
        parts: A worker that is built and not started.

    Returns:
        The exit code.
    """
    # Parts of Faust are bound to the loop that was current when the app was built.
    worker = _Worker(
        parts.app,
        loop=parts.app.loop,
        override_logging=False,
        redirect_stdouts=False,
        quiet=True,
        workdir=None,
        loglevel="warn",
    )
    worker.spinner = None
    quiet_libraries()
    code = 0
    try:
        with rare_collections():
            worker.execute_from_commandline()
    except SystemExit as exc:
        code = int(exc.code or 0)
    reason = worker.crash_reason or worker.failure
    if worker.crash_reason is not None:
        code = ExitCode.CRASHED
    elif code or reason is not None:
        code = ExitCode.NOT_STARTED
    if code:
        _log.error("worker ended", reason=_in_one_line(reason), code=int(code))
    _leave_stuck_threads(int(code))
    parts.watchdog.close()
    return int(code)


def _in_one_line(reason: BaseException | None) -> str:
    if reason is None:
        return "unknown; see the log lines above"
    text = str(reason) if isinstance(reason, SidestreamError) else repr(reason)
    return " ".join(text.split())


def _leave_stuck_threads(code: int) -> None:
    """Exit at once if one of our threads hangs in a call: Python would wait for it forever at exit."""
    ours = [thread for thread in threading.enumerate() if thread.name.startswith(_OUR_THREADS)]
    until_s = time.monotonic() + _STUCK_S
    for thread in ours:
        thread.join(max(0.0, until_s - time.monotonic()))
    if any(thread.is_alive() for thread in ours):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
