"""Several workers as child processes: output marked by worker, and all of them stopped when one fails.

When a worker ends with an error, the others are stopped and its exit code becomes the fleet's, so that a supervisor
restarts the whole fleet. When a worker stops normally (after a SIGTERM sent to it alone), the others keep running.
When this process is killed, all of them stop normally.
"""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sidestream.streams.runtime.parent import lifeline
from sidestream.streams.runtime.termination import end_by_exit_code, ignore_signals
from sidestream.streams.worker.process import worker_command

# A worker ends itself `worker.watchdog.shutdown_s` after SIGTERM; this margin is for one that cannot even do that.
STOP_MARGIN_S = 5.0
Write = Callable[[str], None]


class Fleet:
    """Workers that run and stop together.

    Args:
        flags: Settings of each worker by dotted name, as `WorkerProcess` takes them.
        config: TOML settings file of all workers, if any.
        stop_timeout_s: How long a normal shutdown may take.
        write: Called with each line of output; writes to standard error by default.
    """

    def __init__(
        self,
        flags: Sequence[Mapping[str, Any]],
        config: Path | None = None,
        stop_timeout_s: float = 20.0,
        write: Write | None = None,
    ) -> None:
        self._commands = [worker_command(each, config) for each in flags]
        self._stop_timeout_s = stop_timeout_s
        self._write = write or _to_stderr
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._children: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []

    def run(self) -> int:
        """Start the workers and wait until all have ended.

        Returns:
            0 if all workers stopped normally; else the exit code of the first one that failed.
        """
        try:
            for number, (command, env) in enumerate(self._commands, start=1):
                self._start(number, command, env)
            for _ in self._children:
                number = self._ended.get()
                code = self._children[number - 1].wait()
                if code:
                    self._write(f"worker {number} ended with {_describe(code)}: stopping the others")
                    return 128 - code if code < 0 else code
                self._write(f"worker {number} stopped")
        except KeyboardInterrupt:
            has_stopped = self._stop()
            end_by_exit_code()
            return 0 if has_stopped else 1
        finally:
            self._stop()
            for reader in self._readers:
                reader.join()
        return 0

    def _start(self, number: int, command: Sequence[str], env: Mapping[str, str]) -> None:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=lifeline(),
            env=dict(env),
            encoding="utf-8",
            errors="replace",
            # Separate sessions: Ctrl-C in the terminal reaches only this process, which stops the workers in order.
            start_new_session=True,
        )
        self._children.append(child)
        reader = threading.Thread(target=self._read, args=(number, child.stdout), name=f"worker {number}", daemon=True)
        self._readers.append(reader)
        reader.start()

    def _read(self, number: int, output: IO[str]) -> None:
        with output:
            for line in output:
                # Keep reading even if writing fails: a worker whose pipe is full blocks.
                with suppress(OSError):
                    self._write(_marked(number, line.rstrip()))
        self._ended.put(number)

    def _stop(self) -> bool:
        """Stop all workers that still run; return whether all stopped normally."""
        ignore_signals()
        running = [child for child in self._children if child.poll() is None]
        for child in running:
            child.send_signal(signal.SIGTERM)
        for child in running:
            try:
                child.wait(self._stop_timeout_s + STOP_MARGIN_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        return all(child.returncode == 0 for child in running)


def _marked(number: int, line: str) -> str:
    """Put the worker into a line: as a field of JSON, which stays JSON, else in front."""
    if line.startswith("{"):
        with suppress(ValueError):
            return json.dumps({"worker_number": number, **json.loads(line)})
    return f"worker {number} | {line}"


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"


def _to_stderr(line: str) -> None:
    # One write per line: several threads share the stream.
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
