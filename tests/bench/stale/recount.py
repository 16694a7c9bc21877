"""How much later a worker is ready for having counted listens that it had not published when it ended.

After SIGTERM nothing is to be counted again: all is published at the stop. After SIGKILL all is, behind readiness.
"""

import argparse
import signal
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.bench.fleet.installation import Installation, Worker
from tests.bench.peers.progress import num_done
from tests.bench.support.harness import alternate
from tests.bench.support.rig import Rig, make_log, wait_until

READY_TIMEOUT_S = 180.0
DRAIN_TIMEOUT_S = 300.0
# Longer than a round, so that all of it is left to publish at the stop.
PUBLISH_S = 600.0
# Peers by how they end: after SIGTERM, after SIGKILL.
COUNTING, PLAIN = ("counting", "counting_killed"), ("plain", "plain_killed")

Run = dict[str, float]


class Recount:
    """Two installations that differ in whether they count.

    Args:
        rig: The broker.
        options: Sizes.
    """

    def __init__(self, rig: Rig, options: argparse.Namespace) -> None:
        self.rig, self.options = rig, options
        self.workers: dict[str, Worker] = {}
        for name in (*COUNTING, *PLAIN):
            counts = name in COUNTING
            flags = {"popularity.publish_s": PUBLISH_S} if counts else {"popularity.enabled": False}
            worker = self.workers[name] = Installation(rig, options.partitions, 1, flags=flags).worker(name)
            worker.start()
        for worker in self.workers.values():
            wait_until(worker.is_ready, READY_TIMEOUT_S, "the worker is ready")
        for worker in self.workers.values():
            worker.stop()

    def peers(self) -> dict[str, Callable[[int], Run]]:
        """Give what is measured in turn."""
        return {name: partial(self._run, name) for name in self.workers}

    def _run(self, name: str, number: int) -> Run:
        """Fold listens, end the worker at once, and start it again."""
        options, worker = self.options, self.workers[name]
        ended_ms_ago = (options.rounds - number) * options.listens
        log = make_log(options.listens, options.users, options.partitions, options.seed + number, ended_ms_ago)
        worker.start()
        wait_until(worker.is_ready, READY_TIMEOUT_S, "the worker is ready")
        self.rig.publish(worker.topics.listens.name, log)
        wait_until(lambda: num_done(worker.progress) >= options.listens, DRAIN_TIMEOUT_S, "all listens are folded")
        stopping_s = time.monotonic()
        is_killed = name in (COUNTING[1], PLAIN[1])
        code = worker.stop(signal.SIGKILL if is_killed else signal.SIGTERM)
        started_s = time.monotonic()
        worker.start()
        most_behind = 0.0

        def is_ready() -> bool:
            nonlocal most_behind
            most_behind = max(most_behind, worker.metric("sidestream_popularity_behind"))
            return worker.is_ready()

        wait_until(is_ready, READY_TIMEOUT_S, "the worker is ready again")
        ready_s = time.monotonic()
        most_behind = max(most_behind, worker.metric("sidestream_popularity_behind"))
        worker.stop()
        return {
            "stop_s": round(started_s - stopping_s, 2),
            "ready_s": round(ready_s - started_s, 2),
            "code": float(-1 if code is None else code + is_killed * signal.SIGKILL),
            "behind": most_behind,
        }


def measure_recount(rig: Rig, options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Alternate restarts with and without counting, after SIGTERM and after SIGKILL.

    Returns:
        All runs, the differences of the medians, and how many listens were at least counted again after a SIGKILL.
    """
    runs = alternate(Recount(rig, options).peers(), options.rounds, say)

    def later_s(number: int, figure: str) -> float:
        with_counts, without = (
            statistics.median(run[figure] for run in runs[names[number]]) for names in (COUNTING, PLAIN)
        )
        return round(with_counts - without, 2)

    return {
        **runs,
        "recount_s": later_s(0, "ready_s"),
        "recount_killed_s": later_s(1, "ready_s"),
        "stop_later_s": later_s(0, "stop_s"),
        "recounted": min(run["behind"] for run in runs[COUNTING[1]]),
    }
