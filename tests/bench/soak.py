"""Hours in small: listens, session-starts and catalogue changes at 60 % of capacity, and whether anything grows.

The whole worker with a constant for its model. Its capacity is measured first, as the rate at which a backlog drains
while session-starts come in; then load comes evenly. Memory is judged by the slope of a line through all samples after
the warm-up, in which caches fill, so that a single peak says nothing and a leak of a few bytes a listen shows. Lag is
the time from when a listen is in the log to when its state is, taken ten times a second.
"""

import argparse
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.bench.fleet.installation import Worker
from tests.bench.peers.progress import num_done, read_progress
from tests.bench.sessions import make_worker, measure_backlog, measure_idle
from tests.bench.support.harness import Bench, at_least, at_most, option_parser, percentile, told
from tests.bench.support.open_loop import Load, OpenLoop
from tests.bench.support.rig import ROOT, Rig, make_log, open_rig, wait_until

Progress = list[tuple[float, int]]

SHARE_OF_CAPACITY = 0.6
SAMPLE_S = 2.0
CHANGES_PER_S = 2.0
WARM_UP_SHARE = 0.5
# Of the time asked for: from the first session-start to the last.
LEAST_SHARE = 0.95
# Half an hour at this rate writes more than a disk has to hold: old listens may go, the changelog is compacted.
TOPIC_CONFIG = {"segment.bytes": str(64 << 20), "retention.bytes": str(128 << 20)}
# A leak of 1 byte a listen at 10,000 listens/s is 34 MB an hour.
RSS_SLOPE_MB_PER_HOUR = 10.0
# One batch is 0.1 s.
LAG_P99_S = 0.5


@dataclass
class Samples:
    """Resident memory while the load came in, by monotonic seconds."""

    at_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)

    def after(self, share: float) -> "Samples":
        """Leave the warm-up out."""
        first = int(share * len(self.at_s))
        return Samples(self.at_s[first:], self.rss_mb[first:])


def lags_s(published: Progress, done: Progress) -> list[float]:
    """Tell how long the oldest listen has waited that is published and not done, at each moment of the second.

    Args:
        published: Listens that are in the log, by monotonic seconds.
        done: Listens whose states are durable.
    """
    at_s, counts = [at for at, _ in published], [count for _, count in published]
    waits = [at - float(np.interp(count, counts, at_s)) for at, count in done if at_s[0] <= at <= at_s[-1]]
    return [max(0.0, wait) for wait in waits]


def slope(at_s: list[float], values: list[float] | list[int]) -> float | None:
    """Fit a line; returns what is gained in a second, none for fewer than three samples."""
    return float(np.polyfit(at_s, values, 1)[0]) if len(at_s) > 2 else None


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def sample(pid: int, samples: Samples, stop: threading.Event) -> None:
    """Take samples until told to stop."""
    while not stop.wait(SAMPLE_S):
        samples.rss_mb.append(rss_mb(pid))
        samples.at_s.append(time.monotonic())


def measure_capacity(bench: Bench, worker: Worker, loop: OpenLoop) -> float:
    """Drain a backlog while session-starts come in; returns listens/s."""
    options = bench.options
    measure_idle(worker, loop, 1.0, "warm-up")
    worker.stop()
    log = make_log(options.backlog, options.users, options.partitions, options.seed)
    worker.rig.publish(worker.topics.listens.name, log)
    worker.start()
    run = measure_backlog(loop, worker.progress, options.backlog, "capacity", worker.is_ready)
    wait_until(worker.is_ready, 120, "the worker is ready again")
    return float(run["drained_per_s"])


def measure_soak(
    bench: Bench, worker: Worker, loop: OpenLoop, per_s: float
) -> tuple[Samples, Load, tuple[Progress, Progress]]:
    """Let the load come in for the whole time; returns also what was published and what was done."""
    if worker.process is None:
        raise RuntimeError("expected a worker that runs, got none")
    options, samples, stop = bench.options, Samples(), threading.Event()
    published, before = worker.rig.folder / "mixed.progress", num_done(worker.progress)
    config = {
        "listens": worker.topics.listens.name,
        "catalogue": worker.topics.catalog_items.name,
        "partitions": options.partitions,
        "users": options.users,
        "items": options.items,
        "seed": options.seed,
        "per_s": per_s,
        "changes_per_s": CHANGES_PER_S,
        "progress": str(published),
    }
    sampler = threading.Thread(target=sample, args=(worker.process.pid, samples, stop))
    source = worker.rig.start("mixed", config)
    sampler.start()
    minute = 0

    def is_over(spent_s: float) -> bool:
        nonlocal minute
        if spent_s // 60 > minute and samples.rss_mb:
            minute = int(spent_s // 60)
            bench.say(f"minute {minute}: {samples.rss_mb[-1]:.1f} MB")
        return spent_s >= 60 * options.minutes or source.poll() is not None

    try:
        load = loop.run("soak", lambda: True, is_over, 30.0)
    finally:
        stop.set()
        sampler.join()
        if is_source_ended := source.poll() is not None:
            bench.say(f"the source of listens ended by itself with {source.returncode}")
        else:
            source.kill()
    due_s = load.scheduled.values()
    bench.results |= {"source_ended": is_source_ended, "minutes": round((max(due_s) - min(due_s)) / 60, 3)}
    done = [(at, count - before) for at, count in read_progress(worker.progress)]
    return samples, load, (read_progress(published), done)


def by_minute(load: Load) -> list[dict[str, float | None]]:
    """Tell p50 and p99 of every minute, in milliseconds."""
    first, last = min(load.scheduled.values()), max(load.scheduled.values())
    give_up_s = max(load.answered.values(), default=last)
    minutes = []
    for start in np.arange(first, last, 60.0):
        latencies = load.latencies_ms(start, start + 60.0, give_up_s)
        shares = {"p50": percentile(latencies, 0.5), "p99": percentile(latencies, 0.99)}
        minutes.append({name: None if ms is None else round(ms, 1) for name, ms in shares.items()})
    return minutes


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--minutes", type=float, default=None, help="how long the load comes in")
    parser.add_argument("--backlog", type=int, default=None, help="listens that measure the capacity")
    parser.add_argument("--users", type=int, default=20_000, help="listeners")
    parser.add_argument("--items", type=int, default=1_000, help="items of the catalogue")
    parser.add_argument("--per-s", type=float, default=20.0, help="session-starts a second")
    options = parser.parse_args(arguments)
    options.minutes = options.minutes or (0.2 if options.smoke else 30.0)
    if options.result is None and not options.smoke:
        options.result = ROOT / "tests" / "bench" / "results" / "soak.json"
    options.backlog = options.backlog or (10_000 if options.smoke else 300_000)
    return options


def tell(bench: Bench, samples: Samples, load: Load, lags: list[float], capacity: float) -> None:
    """Put results and checks together."""
    steady = samples.after(WARM_UP_SHARE)
    rss, steady_lags = slope(steady.at_s, steady.rss_mb), lags[int(WARM_UP_SHARE * len(lags)) :]
    latencies = load.latencies_ms(0.0, float("inf"), max(load.answered.values(), default=0.0))
    bench.results |= {
        "capacity_per_s": round(capacity),
        "listens_per_s": round(SHARE_OF_CAPACITY * capacity),
        "changes_per_s": CHANGES_PER_S,
        "rss_mb": [round(value, 1) for value in samples.rss_mb[:: max(1, len(samples.rss_mb) // 60)]],
        "lag_s": [round(value, 2) for value in lags[:: max(1, len(lags) // 60)]],
        "sessions_by_minute_ms": by_minute(load),
        "sessions": len(load.scheduled),
    }
    bench.checks = [
        at_most("rss_slope_mb_per_hour", None if rss is None else rss * 3_600, RSS_SLOPE_MB_PER_HOUR),
        at_most("lag_p99_s", percentile(steady_lags, 0.99), LAG_P99_S),
        at_most("unanswered_sessions", load.unanswered, 0),
        at_least("minutes", bench.results["minutes"], LEAST_SHARE * bench.options.minutes),
        at_most("source_ended", float(bench.results["source_ended"]), 0),
        told("lag_p50_s", percentile(steady_lags, 0.5)),
        told("session_p99_ms", percentile(latencies, 0.99)),
    ]


def soak(bench: Bench, rig: Rig) -> None:
    """Measure capacity, then the long load."""
    options = bench.options
    worker = make_worker(rig, options, TOPIC_CONFIG)
    starts, candidates = worker.topics.session_starts.name, worker.topics.candidates.name
    loop = OpenLoop(rig.clients, starts, candidates, options.partitions, options.users, options.per_s)
    worker.start()
    wait_until(worker.is_ready, 120, "the worker is ready")
    wait_until(lambda: f"sidestream_catalogue_items {options.items:.1f}" in worker.metrics(), 60, "its catalogue")
    capacity = measure_capacity(bench, worker, loop)
    bench.say(f"capacity {capacity:,.0f} listens/s; {options.minutes:g} minutes at {SHARE_OF_CAPACITY:.0%} of it")
    samples, load, (published, done) = measure_soak(bench, worker, loop, SHARE_OF_CAPACITY * capacity)
    worker.stop()
    tell(bench, samples, load, lags_s(published, done), capacity)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("soak", options)
    with open_rig(options.bootstrap) as rig:
        soak(bench, rig)
    return bench.finish("unanswered_sessions", "minutes", "source_ended")


if __name__ == "__main__":
    sys.exit(main())
