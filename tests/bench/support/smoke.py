"""Runs a benchmark in its smallest size, as its tests do, and gives its last line."""

import json
import os
import subprocess
import sys
from typing import Any

from tests.bench.support.rig import ROOT


def last_line(bench: str, *options: str) -> Any:
    """Run `python -m tests.bench.BENCH --smoke` to its end and take its last line apart."""
    answer = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{bench}", "--smoke", *options],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3_000:]
    line = json.loads(answer.stdout.splitlines()[-1])
    assert line["bench"] == bench
    assert line["settings"]["smoke"] is True
    return line
