"""A process that has imported everything and forks workers: one is ready to start in 20 ms instead of 3 s.

It has one thread and no open client, database or thread pool, so that a fork is safe. It is told what to start by
lines of JSON on its standard input and tells what became of it on its standard output; when the input ends, it kills
what it started and goes, so that no worker outlives a benchmark.
"""

import asyncio
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.support.rig import ROOT

# The first one waits for the imports.
START_S = 120.0


def main() -> None:
    """Serve until the input ends."""
    from tests.bench.matrix.worker import serve, warm_up

    warm_up(plain="plain" in sys.argv[1:])
    gc.freeze()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    children: dict[int, int] = {}
    waiting = b""
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4_096)
            _reap(children)
        if 0 in ready:
            chunk = os.read(0, 65_536)
            if not chunk:
                break
            *lines, waiting = (waiting + chunk).split(b"\n")
            for line in lines:
                order = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    os.close(wake_read)
                    os.close(wake_write)
                    _become(order, serve)
                children[pid] = order["number"]
                _tell({"number": order["number"], "pid": pid})
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


def _become(order: dict[str, Any], serve: Any) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        code = serve(order["config"])
    except BaseException:  # noqa: BLE001 - nothing may come back into the loop of the parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap(children: dict[int, int]) -> None:
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            number = children.pop(pid)
            _tell({"number": number, "code": os.waitstatus_to_exitcode(status), "at_s": time.monotonic()})


def _tell(event: dict[str, Any]) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


@dataclass
class Worker:
    """A worker process."""

    name: str
    log: Path
    pid: int = 0
    ended: "asyncio.Future[int]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    ended_at_s: float = 0.0
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_alive(self) -> bool:
        """Whether it runs or is stopped."""
        return not self.ended.done()

    @property
    def is_stopped(self) -> bool:
        """Whether it is paused by a signal."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def send(self, number: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        if self.is_alive:
            os.kill(self.pid, number)


class Forks:
    """Starts workers through the server.

    Args:
        sources: Folder with the packages of another release; none for those of this one.
    """

    def __init__(self, sources: Path | None = None) -> None:
        self.sources = sources
        self._process: asyncio.subprocess.Process | None = None
        self._workers: dict[int, Worker] = {}
        self._reading: set[asyncio.Task[None]] = set()
        self._log = Path()
        self._number = 0

    async def open(self, log: Path) -> None:
        """Start the server."""
        # The tests are always those of this release.
        path = f"{ROOT}" if self.sources is None else f"{self.sources}:{ROOT}"
        environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with log.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.bench.matrix.forks",
                *(() if self.sources is None else ("plain",)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                # The first place that packages are looked for.
                cwd=self.sources or ROOT,
                env=environment,
            )
        self._reading, self._log = {asyncio.create_task(self._read(self._process))}, log

    async def start(self, name: str, log: Path, config: dict[str, Any]) -> Worker:
        """Start a worker."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("the fork server is not open")
        self._number += 1
        worker = self._workers[self._number] = Worker(name, log)
        order = {"number": self._number, "log": str(log), "config": config}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        begun = asyncio.create_task(worker.started.wait())
        await asyncio.wait({begun, *self._reading}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        if not worker.started.is_set():
            *_, last = ["", *self._log.read_text(errors="replace").splitlines()]
            raise RuntimeError(f"the fork server started no worker within {START_S:g} s, or has ended: {last}")
        return worker

    async def close(self) -> None:
        """End the server and all that it started."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        await self._process.wait()
        await asyncio.gather(*self._reading)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            event = json.loads(line)
            worker = self._workers[event["number"]]
            if "pid" in event:
                worker.pid = event["pid"]
                worker.started.set()
            else:
                worker.ended_at_s = event["at_s"]
                worker.ended.set_result(event["code"])
        for worker in self._workers.values():
            if not worker.ended.done():
                worker.ended.set_result(-signal.SIGKILL)


if __name__ == "__main__":
    main()
