"""CPU of commands that do next to nothing, against the help of a typer app with one command.

Whole processes, user and system time together; ours and the peer's run in turn. `state get` asks a page that answers
at once with 50 listens: what a worker does for it is not measured.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.bench.support.harness import Bench, alternate, at_most, median_ratio, told
from tests.bench.support.rig import ROOT

HELP_LIMIT, GET_LIMIT = 1.6, 3.0
_LISTEN = {"item_id": "track-1", "sid": "13-65-188", "at": 1_795_403_142_036, "share": 0.9, "signal": None}
_STATE = json.dumps({"user_id": "u1", "history": [_LISTEN] * 50}).encode()


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(_STATE)))
        self.end_headers()
        self.wfile.write(_STATE)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def measure_commands(bench: Bench, rounds: int) -> None:
    """Measure help and `state get`, and judge both by the peer's help.

    Args:
        bench: Gets the seconds of every run under `cpu_s`, and the checks.
        rounds: Alternated rounds.
    """
    ours = str(Path(sys.executable).with_name("sidestream"))
    peer = [sys.executable, str(ROOT / "tests/bench/peers/one_command.py")]
    with _page() as port, tempfile.TemporaryDirectory() as folder:
        get = [ours, "state", "get", "u1", "--set", f"web.port={port}"]
        commands = {
            "typer_help": [*peer, "--help"],
            "help": [ours, "--help"],
            "get": [*get, "--json"],
            "get_table": [*get, "--no-json"],
        }
        peers = {name: _cpu_of(command, folder) for name, command in commands.items()}
        for run in peers.values():  # what is compiled and read for the first time costs more
            run(0)
        runs = alternate(peers, rounds, bench.say)
    bench.results["cpu_s"] = runs
    bench.checks += [
        at_most("help_vs_typer", median_ratio(runs["help"], runs["typer_help"]), HELP_LIMIT),
        at_most("get_vs_typer", median_ratio(runs["get"], runs["typer_help"]), GET_LIMIT),
        told("get_table_vs_typer", median_ratio(runs["get_table"], runs["typer_help"])),
    ]


def _cpu_of(command: list[str], folder: str) -> Callable[[int], float]:
    env = os.environ | {"COLUMNS": "100"}

    def run(number: int) -> float:
        del number
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL)
        # Of this child alone: RUSAGE_CHILDREN would add whatever else ends meanwhile.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        return round(usage.ru_utime + usage.ru_stime, 4)

    return run


@contextmanager
def _page() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
