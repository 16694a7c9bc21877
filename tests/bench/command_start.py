"""What a command costs before it does anything: CPU of `sidestream --help` and `state get` against a typer app's help.

The peer is a program of one command with typer's defaults. Its `--help` is run in turn with ours, and the median of
the ratios within a round is judged, user and system time together. `state get` asks a page that answers at once with
50 listens: what a worker does for it is not measured.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import TemporaryDirectory

from tests.bench.support.harness import Bench, alternate, at_most, median_ratio, option_parser, told
from tests.bench.support.rig import ROOT

HELP_LIMIT, GET_LIMIT = 1.6, 3.0
_LISTEN = {"item_id": "track-1", "sid": "13-65-188", "at": 1_795_403_142_036, "share": 0.9, "signal": None}
_STATE = json.dumps({"user_id": "u1", "history": [_LISTEN] * 50}).encode()
_OURS = [sys.executable, "-m", "sidestream.streams.cli.entry"]


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(_STATE)))
        self.end_headers()
        self.wfile.write(_STATE)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def main() -> int:
    """Measure and tell."""
    options = option_parser("CPU of commands that do next to nothing").parse_args()
    bench = Bench("command_start", options)
    rounds = options.rounds or (1 if options.smoke else 15)
    with _page() as port, TemporaryDirectory() as folder:
        get = [*_OURS, "state", "get", "u1", "--set", f"web.port={port}"]
        runs = alternate(
            {
                "typer_help": _cpu_of(
                    [sys.executable, str(ROOT / "tests/bench/peers/one_command.py"), "--help"], folder
                ),
                "help": _cpu_of([*_OURS, "--help"], folder),
                "get": _cpu_of([*get, "--json"], folder),
                "get_table": _cpu_of([*get, "--no-json"], folder),
            },
            rounds,
            bench.say,
        )
    bench.results = {"cpu_s": runs}
    bench.checks += [
        at_most("help_vs_typer", median_ratio(runs["help"], runs["typer_help"]), HELP_LIMIT),
        at_most("get_vs_typer", median_ratio(runs["get"], runs["typer_help"]), GET_LIMIT),
        told("get_table_vs_typer", median_ratio(runs["get_table"], runs["typer_help"])),
    ]
    return bench.finish()


def _cpu_of(command: list[str], folder: str) -> Callable[[int], float]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}

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


if __name__ == "__main__":
    sys.exit(main())
