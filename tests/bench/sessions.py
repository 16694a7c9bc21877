"""From a session-start's scheduled send time to its candidates, idle and while a backlog of listens drains.

The whole worker with a constant for its model; broker and load generator run on the same cores. The backlog is
published while no worker runs, so that the worker drains it from the moment its partitions are ready. Session-starts
come as soon as all are, which `/readyz` tells; those that were scheduled while the backlog drained are counted. In the
same round an equal backlog drains without session-starts: what they take from listens is the ratio of the two, in every
second of wall time. A listen counts once Kafka has acknowledged its state. Stock Faust gets a shorter backlog, for it
is slow.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.fleet.installation import Installation, Worker
from tests.bench.peers.progress import INTERVAL_S, num_done, read_progress
from tests.bench.support.harness import (
    Bench,
    at_least,
    at_most,
    lane_overrides,
    option_parser,
    percentile,
    told,
)
from tests.bench.support.open_loop import Load, OpenLoop
from tests.bench.support.rig import Rig, make_log, open_rig, wait_until

STOCK_SHARE = 20
STOCK_SESSION_SHARE = 4
MAX_BACKLOGS = 8
PATIENCE_S = 60.0
BACKLOG_VS_IDLE, DRAIN_SHARE = 2.2, 0.35

Samples = list[tuple[float, int]]


def make_worker(rig: Rig, options: argparse.Namespace, topic_config: Mapping[str, str] | None = None) -> Worker:
    """Make an installation of the options' sizes, and one worker."""
    flags = {f"lane.{name}": value for name, value in lane_overrides(options.lane).items()}
    return Installation(rig, options.partitions, options.items, topic_config, flags).worker()


def drain_times(samples: Samples, total: int) -> tuple[float, float, list[float]]:
    """Say when a backlog drained.

    Listens are noted when a batch of all partitions is durable, ten thousand at a time: between two such moments they
    count as spread evenly, for they were worked on all the time.

    Returns:
        Its begin and its end, and the listens of every full second between, in listens a second.
    """
    first = max((at for at, count in samples if count == 0), default=0.0)
    steps = [(first, 0)]
    for at, count in samples:
        if steps[-1][1] < count and steps[-1][1] < total:
            steps.append((at, count))
    last = steps[-1][0]
    seconds = np.arange(first, last, 1.0)
    counts = np.interp(seconds, [at for at, _ in steps], [count for _, count in steps])
    return first, last, [round(float(rate), 1) for rate in np.diff(counts)]


def measure_idle(worker: Worker, loop: OpenLoop, seconds: float, tag: str) -> list[float]:
    """Measure session-starts with nothing else to do."""
    cpu_s = worker.cpu_s()
    load = loop.run(tag, lambda: True, lambda spent_s: spent_s >= seconds, 10.0)
    if load.unanswered:
        raise RuntimeError(f"{load.unanswered} of {len(load.scheduled)} idle session-starts got no answer")
    worker.session_cpu_ms.append((worker.cpu_s() - cpu_s) / len(load.scheduled) * 1e3)
    return list(load.latencies_ms(0.0, float("inf"), 0.0))


def measure_backlog(
    loop: OpenLoop, progress: Path, listens: int, tag: str, is_ready: Callable[[], bool]
) -> dict[str, Any]:
    """Measure session-starts while a backlog drains, from when the worker is ready and has begun with it."""

    def begun() -> bool:
        return any(count > 0 for _, count in read_progress(progress)) and is_ready()

    asked_s = 0.0

    def drained(spent_s: float) -> bool:
        nonlocal asked_s
        if spent_s < asked_s:
            return False
        asked_s = spent_s + INTERVAL_S
        return num_done(progress) >= listens

    load: Load = loop.run(tag, begun, drained, PATIENCE_S)
    first, last, rates = drain_times(read_progress(progress), listens)
    give_up_s = max(load.answered.values(), default=last)
    latencies = load.latencies_ms(first, last, give_up_s)
    return {
        "latencies_ms": latencies,
        "unanswered": load.unanswered,
        "seconds": last - first,
        "drained_per_s": listens / max(1e-9, last - first),
        "rates_per_s": rates,
    }


def measure_drain(worker: Worker, listens: int) -> float:
    """Measure a backlog without session-starts; returns its listens a second."""
    wait_until(lambda: num_done(worker.progress) >= listens, 120, "the backlog is drained")
    first, last, _ = drain_times(read_progress(worker.progress), listens)
    return listens / max(1e-9, last - first)


def measure_lane(bench: Bench, rig: Rig) -> tuple[list[float], list[dict[str, Any]]]:
    """Measure the worker: rounds of idle and backlogs, until enough session-starts fell into a backlog."""
    options = bench.options
    worker = make_worker(rig, options)
    starts, candidates = worker.topics.session_starts.name, worker.topics.candidates.name
    loop = OpenLoop(rig.clients, starts, candidates, options.partitions, options.users, options.per_s)
    worker.start()
    wait_until(worker.is_ready, 60, "the worker is ready")
    wait_until(lambda: f"sidestream_catalogue_items {options.items:.1f}" in worker.metrics(), 60, "its catalogue")
    measure_idle(worker, loop, 1.0, "warm-up")
    idle: list[float] = []
    backlogs: list[dict[str, Any]] = []
    while len(backlogs) < options.rounds or (
        not options.smoke
        and sum(len(b["latencies_ms"]) for b in backlogs) < options.sessions
        and len(backlogs) < MAX_BACKLOGS
    ):
        number = len(backlogs)
        if number < options.rounds:
            idle += measure_idle(worker, loop, options.sessions / options.rounds / options.per_s, f"idle-{number}")
            bench.say(f"idle {number + 1}: {summary(idle)}")
        for part in range(2):
            worker.stop()
            made = 2 * number + part
            ended_ms_ago = (2 * MAX_BACKLOGS - made) * options.backlog
            log = make_log(options.backlog, options.users, options.partitions, options.seed + made, ended_ms_ago)
            rig.publish(worker.topics.listens.name, log)
            worker.start()
            if part == 0:
                alone_per_s = measure_drain(worker, options.backlog)
                continue
            backlogs.append(
                measure_backlog(loop, worker.progress, options.backlog, f"backlog-{number}", worker.is_ready)
            )
            backlogs[-1] |= {"alone_per_s": alone_per_s, "drain_share": drain_share(backlogs[-1], alone_per_s)}
            wait_until(worker.is_ready, 60, "the worker is ready again")
        told_run = {key: value for key, value in backlogs[-1].items() if key != "latencies_ms"}
        bench.say(f"backlog {number + 1}: {summary(backlogs[-1]['latencies_ms'])} {told_run}")
    worker.stop()
    bench.results["session_cpu_ms"] = [round(ms, 2) for ms in worker.session_cpu_ms]
    return idle, backlogs


def measure_stock(bench: Bench, rig: Rig) -> dict[str, Any]:
    """Measure stock Faust under a backlog."""
    options = bench.options
    group, partitions, listens = rig.name("stock"), options.partitions, options.backlog // STOCK_SHARE
    names = {name: rig.topic(f"{group}-{name}", partitions) for name in ("source", "session_starts", "candidates")}
    rig.topic(f"{group}-states-changelog", partitions, compacted=True)
    rig.publish(names["source"], make_log(listens, options.users, partitions, options.seed))
    progress = rig.folder / "stock.progress"
    config = {"group": group, "partitions": partitions, "data_dir": str(rig.folder / group), "mode": "sessions"}
    process = rig.start("stock", {**config, **names, "progress": str(progress)})
    per_s = options.per_s / STOCK_SESSION_SHARE
    loop = OpenLoop(rig.clients, names["session_starts"], names["candidates"], partitions, options.users, per_s)
    backlog = measure_backlog(loop, progress, listens, "stock", lambda: True)
    process.kill()
    bench.say(f"stock: {summary(backlog['latencies_ms'])}, drained {backlog['drained_per_s']:.0f} listens/s")
    return backlog


def drain_share(backlog: Mapping[str, Any], alone_per_s: float) -> float:
    """Compare the slowest second of a backlog with session-starts with the rate of one without."""
    return float(min(backlog["rates_per_s"], default=backlog["drained_per_s"])) / alone_per_s


def summary(latencies: list[float]) -> dict[str, Any]:
    """Put latencies in a few figures."""
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    figures = {name: percentile(latencies, share) for name, share in shares.items()}
    return {"count": len(latencies), **{name: v if v is None else round(v, 1) for name, v in figures.items()}}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--sessions", type=int, default=None, help="session-starts, idle and in the backlog each")
    parser.add_argument("--per-s", type=float, default=None, help="their rate")
    parser.add_argument("--backlog", type=int, default=None, help="listens that wait, each round")
    parser.add_argument("--users", type=int, default=None, help="who listens and asks")
    parser.add_argument("--items", type=int, default=None, help="in the catalogue")
    options = parser.parse_args(arguments)
    small = options.smoke
    options.rounds = options.rounds or (1 if small else 3)
    options.sessions = options.sessions or (20 if small else 3_000)
    options.per_s = options.per_s or 50.0
    options.backlog = options.backlog or (20_000 if small else 500_000)
    options.users = options.users or (200 if small else 10_000)
    options.items = options.items or (100 if small else 2_000)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("sessions", options)
    with open_rig(options.bootstrap) as rig:
        idle, backlogs = measure_lane(bench, rig)
        stock = measure_stock(bench, rig)
    busy = [latency for backlog in backlogs for latency in backlog["latencies_ms"]]
    shares = [backlog["drain_share"] for backlog in backlogs]
    rates = [rate for backlog in backlogs for rate in backlog["rates_per_s"]]
    idle_p99_ms, busy_p99_ms = percentile(idle, 0.99), percentile(busy, 0.99)
    bench.results |= {
        "idle_ms": summary(idle),
        "backlog_ms": summary(busy),
        "stock_backlog_ms": summary(stock["latencies_ms"]),
        "backlogs": [{**backlog, "latencies_ms": summary(backlog["latencies_ms"])} for backlog in backlogs],
        "stock_backlog": {**stock, "latencies_ms": summary(stock["latencies_ms"])},
    }
    bench.checks = [
        at_most(
            "backlog_vs_idle",
            None if idle_p99_ms is None or busy_p99_ms is None else busy_p99_ms / idle_p99_ms,
            BACKLOG_VS_IDLE,
        ),
        at_least("drain_share", min(shares, default=None), DRAIN_SHARE),
        at_least("backlog_sessions", len(busy), options.sessions),
        told("idle_p99_ms", idle_p99_ms),
        told("backlog_p99_ms", busy_p99_ms),
        told("backlog_drain_per_s", min(rates, default=None)),
        told("stock_backlog_p99_ms", percentile(stock["latencies_ms"], 0.99)),
    ]
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
