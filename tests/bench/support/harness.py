"""What every benchmark does alike: its options, the machine it ran on, alternated rounds, and its last line.

The last line of a benchmark is one JSON object `{bench, machine, settings, results, checks}`; a check is
`{name, value, limit, ok}`. Where a limit is none, the value is told beside others and judged by nobody. The exit code
is 1 where a check is not ok; the smallest size (`--smoke`) tests the benchmark itself, and is judged only by the checks
that hold at any size.

Ratios are made within a round, between runs that follow each other, and the median over the rounds is judged: on a
shared machine absolute figures move by half, ratios of neighbours by a few percent.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

RunT = TypeVar("RunT")

# For programs whose thread is measured; numpy reads it when it is loaded.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_LIBRARIES = ("faust-streaming", "aiokafka", "rocksdict", "msgspec", "numpy")


@dataclass(frozen=True, slots=True)
class Check:
    """One figure and its limit."""

    name: str
    value: float | None
    limit: float | None
    ok: bool


def at_most(name: str, value: float | None, limit: float) -> Check:
    """Judge a figure that must not be larger."""
    return Check(name, _short(value), limit, value is not None and value <= limit)


def at_least(name: str, value: float | None, limit: float) -> Check:
    """Judge a figure that must not be smaller."""
    return Check(name, _short(value), limit, value is not None and value >= limit)


def told(name: str, value: float | None) -> Check:
    """Tell a figure that has no limit."""
    return Check(name, _short(value), None, True)


@dataclass
class Bench:
    """One run of a benchmark, collected until it is told."""

    name: str
    options: argparse.Namespace
    results: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    _load_before: tuple[float, ...] = field(default_factory=os.getloadavg)

    def say(self, text: str) -> None:
        """Tell a person how far it is; standard output's last line stays the result."""
        print(f"[{self.name}] {text}", file=sys.stderr, flush=True)

    def finish(self, *correct: str) -> int:
        """Print the checks for people and the last line for programs.

        Args:
            *correct: Names of checks that hold at any size and on any machine.

        Returns:
            The exit code.
        """
        for check in self.checks:
            limit = "" if check.limit is None else f" (limit {check.limit:g})"
            self.say(f"{'ok  ' if check.ok else 'MISS'} {check.name} = {check.value}{limit}")
        machine = {**describe_machine(), "load_before": self._load_before, "load_after": os.getloadavg()}
        line = json.dumps(
            {
                "bench": self.name,
                "machine": machine,
                "settings": vars(self.options),
                "results": self.results,
                "checks": [asdict(check) for check in self.checks],
            },
            default=lambda value: value.name if isinstance(value, Path) else str(value),
        )
        if self.options.result is not None:
            self.options.result.parent.mkdir(parents=True, exist_ok=True)
            self.options.result.write_text(line + "\n")
        print(line, flush=True)
        return 0 if all(check.ok or (self.options.smoke and check.name not in correct) for check in self.checks) else 1


def option_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes; no timing is judged")
    parser.add_argument("--rounds", type=int, default=None, help="alternated rounds")
    parser.add_argument("--seed", type=int, default=1, help="of the made-up log")
    parser.add_argument("--partitions", type=int, default=8, help="of the topics keyed by user")
    parser.add_argument("--bootstrap", default=None, help="host:port of a running Kafka; none: one is started")
    parser.add_argument("--result", type=Path, default=None, help="file that gets the last line, too")
    parser.add_argument(
        "--lane",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the listen lane, for instance batch_ms=50; may be repeated",
    )
    return parser


def lane_overrides(pairs: Sequence[str]) -> dict[str, str]:
    """Take `--lane NAME=VALUE` apart.

    Raises:
        SystemExit: The lane has no such setting.
    """
    from sidestream.streams.listens.settings import LaneSettings

    overrides = {name: value if given else "true" for name, given, value in (pair.partition("=") for pair in pairs)}
    unknown = sorted(set(overrides) - set(LaneSettings.model_fields))
    if unknown:
        known = ", ".join(sorted(LaneSettings.model_fields))
        raise SystemExit(f"--lane: no such setting: {', '.join(unknown)}; there are {known}")
    return overrides


def alternate(
    peers: Mapping[str, Callable[[int], RunT]], rounds: int, say: Callable[[str], None]
) -> dict[str, list[RunT]]:
    """Run every peer once a round, there and back: each stays beside the same neighbours, whose ratios are judged.

    Args:
        peers: By name; called with the number of the round.
        rounds: How many.
        say: Told each run.

    Returns:
        The runs by name, in order of the rounds.
    """
    names = list(peers)
    runs: dict[str, list[RunT]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            runs[name].append(peers[name](number))
            say(f"round {number + 1}/{rounds} {name}: {runs[name][-1]}")
    return runs


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float | None:
    """Return the median over the rounds of a ratio within a round; none without rounds."""
    pairs = list(zip(above, below, strict=True))
    return statistics.median(a / b for a, b in pairs) if pairs else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that a share of all values does not exceed; none without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all its threads, in steps of a clock tick (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def describe_machine() -> dict[str, Any]:
    """Say what the figures were measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
