"""Hours in small: listens, session-starts and catalogue changes at 60 % of capacity, and whether anything grows.

The whole worker with a constant for its model. Its capacity is measured first: what it folds when more comes than it
can take, with all else as it will be (session-starts, catalogue changes, the source on the same cores) and until
histories are full, since the listens of a new listener cost less than those that fill blocks. Then load comes evenly.
Memory is judged by the slope of a line through all samples after the warm-up, in which caches fill, so that a single
peak says nothing and a leak of a few bytes a listen shows. Lag is the time from when a listen is in the log to when its
state is, taken ten times a second.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sidestream.models.history.layout import MAX_RING
from sidestream.streams.listens.settings import LaneSettings
from tests.bench.fleet.installation import Worker
from tests.bench.peers.progress import num_done, read_progress
from tests.bench.sessions import make_worker, measure_idle
from tests.bench.support.harness import Bench, at_least, at_most, option_parser, percentile, told
from tests.bench.support.open_loop import Load, OpenLoop
from tests.bench.support.rig import ROOT, Rig, open_rig, wait_until

Progress = list[tuple[float, int]]

SHARE_OF_CAPACITY = 0.6
SAMPLE_S = 2.0
CHANGES_PER_S = 2.0
WARM_UP_SHARE = 0.5
# Listens of a user whose blocks are full: the recent ones and `lane.history_events`.
FULL_HISTORY = MAX_RING + LaneSettings().history_events
# Listens/s of an overload, of which the worker is this far behind; what it folds at most, so that it is one; and how
# long it may take for the rest.
OVERLOAD_PER_S, LEAD, OVERLOAD_SHARE, DRAIN_S = 60_000.0, 400_000, 0.95, 120.0
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


@dataclass(frozen=True)
class Source:
    """The process that sends listens and catalogue changes, and what it has sent.

    Attributes:
        process: Runs until killed.
        progress: Listens in the log, by monotonic seconds.
    """

    process: "subprocess.Popen[bytes]"
    progress: Path

    @classmethod
    def start(
        cls, worker: Worker, options: argparse.Namespace, name: str, per_s: float, lead: int | None = None
    ) -> "Source":
        """Start to send at a rate, or no more than `lead` ahead of the worker; two names never repeat an event id."""
        progress = worker.rig.folder / f"{name}.progress"
        config = {
            "listens": worker.topics.listens.name,
            "catalogue": worker.topics.catalog_items.name,
            "partitions": options.partitions,
            "users": options.users,
            "items": options.items,
            "seed": f"{name}-{options.seed}",
            "per_s": per_s,
            "changes_per_s": CHANGES_PER_S,
            "progress": str(progress),
            **({} if lead is None else {"lead": lead, "done": str(worker.progress)}),
        }
        return cls(worker.rig.start("mixed", config), progress)

    def stop(self) -> bool:
        """Stop sending; returns whether it had ended by itself."""
        is_ended = self.process.poll() is not None
        if not is_ended:
            self.process.kill()
            self.process.wait()
        return is_ended


def measure_capacity(bench: Bench, worker: Worker, loop: OpenLoop) -> float:
    """Send more than the worker can fold until histories are full; returns what it folded, in listens/s."""
    options = bench.options
    measure_idle(worker, loop, 1.0, "warm-up")
    source = Source.start(worker, options, "overload", OVERLOAD_PER_S, LEAD)
    is_filled = asked_each_second(
        lambda: num_done(worker.progress) >= options.fill or source.process.poll() is not None
    )
    try:
        loop.run("overload", lambda: True, is_filled, 30.0)
    finally:
        is_ended = source.stop()
    if is_ended:
        raise RuntimeError(f"the source of listens ended by itself with {source.process.returncode}")
    done = read_progress(worker.progress)
    counts, at_s = [count for _, count in done], [at for at, _ in done]
    from_s = float(np.interp(options.fill / 2, counts, at_s))
    per_s = (counts[-1] - options.fill / 2) / (at_s[-1] - from_s)
    published = num_done(source.progress)
    wait_until(lambda: num_done(worker.progress) >= published, DRAIN_S, "the rest is folded")
    return float(per_s)


def asked_each_second(condition: Callable[[], bool]) -> Callable[[float], bool]:
    """Ask for a condition once in a second, by the seconds that are spent."""
    asked_s = 0.0

    def is_over(spent_s: float) -> bool:
        nonlocal asked_s
        if spent_s < asked_s:
            return False
        asked_s = spent_s + 1.0
        return condition()

    return is_over


def measure_soak(
    bench: Bench, worker: Worker, loop: OpenLoop, per_s: float
) -> tuple[Samples, Load, tuple[Progress, Progress]]:
    """Let the load come in for the whole time; returns also what was published and what was done."""
    if worker.process is None:
        raise RuntimeError("expected a worker that runs, got none")
    options, samples, stop = bench.options, Samples(), threading.Event()
    before, cpu_s, began_s = num_done(worker.progress), worker.cpu_s(), time.monotonic()
    sampler = threading.Thread(target=sample, args=(worker.process.pid, samples, stop))
    source = Source.start(worker, options, "soak", per_s)
    sampler.start()
    minute = 0

    def is_over(spent_s: float) -> bool:
        nonlocal minute
        if spent_s // 60 > minute and samples.rss_mb:
            minute = int(spent_s // 60)
            bench.say(f"minute {minute}: {samples.rss_mb[-1]:.1f} MB")
        return spent_s >= 60 * options.minutes or source.process.poll() is not None

    try:
        load = loop.run("soak", lambda: True, is_over, 30.0)
    finally:
        stop.set()
        sampler.join()
        if is_source_ended := source.stop():
            bench.say(f"the source of listens ended by itself with {source.process.returncode}")
    cores = (worker.cpu_s() - cpu_s) / (time.monotonic() - began_s)
    due_s = load.scheduled.values()
    minutes = round((max(due_s) - min(due_s)) / 60, 3)
    bench.results |= {"source_ended": is_source_ended, "minutes": minutes, "worker_cores": round(cores, 3)}
    done = [(at, count - before) for at, count in read_progress(worker.progress)]
    return samples, load, (read_progress(source.progress), done)


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
    parser.add_argument("--users", type=int, default=None, help="listeners")
    parser.add_argument("--fill", type=int, default=None, help="listens that measure the capacity")
    parser.add_argument("--items", type=int, default=1_000, help="items of the catalogue")
    parser.add_argument("--per-s", type=float, default=20.0, help="session-starts a second")
    options = parser.parse_args(arguments)
    options.minutes = options.minutes or (0.2 if options.smoke else 30.0)
    options.users = options.users or (200 if options.smoke else 10_000)
    if options.result is None and not options.smoke:
        options.result = ROOT / "tests" / "bench" / "results" / "soak.json"
    options.fill = options.fill or (100_000 if options.smoke else options.users * FULL_HISTORY)
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
        at_most("overload_share", capacity / OVERLOAD_PER_S, OVERLOAD_SHARE),
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
