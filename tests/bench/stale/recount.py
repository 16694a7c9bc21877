"""How much later a worker is ready for having counted listens that it had not published when it was stopped."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from tests.bench.fleet.installation import Installation, Worker
from tests.bench.peers.progress import num_done
from tests.bench.support.harness import alternate
from tests.bench.support.rig import Rig, make_log, wait_until

READY_TIMEOUT_S = 180.0
DRAIN_TIMEOUT_S = 300.0
# Longer than a round, so that all of it is left to publish at the stop.
PUBLISH_S = 600.0

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
        for name, flags in (
            ("counting", {"popularity.publish_s": PUBLISH_S}),
            ("plain", {"popularity.enabled": False}),
        ):
            worker = self.workers[name] = Installation(rig, options.partitions, 1, flags=flags).worker(name)
            worker.start()
        for worker in self.workers.values():
            wait_until(worker.is_ready, READY_TIMEOUT_S, "the worker is ready")
        for worker in self.workers.values():
            worker.stop()

    def peers(self) -> dict[str, Callable[[int], Run]]:
        """Give what is measured in turn."""
        return {name: lambda number, name=name: self._run(name, number) for name in self.workers}

    def _run(self, name: str, number: int) -> Run:
        """Fold listens, stop the worker at once, and start it again."""
        options, worker = self.options, self.workers[name]
        ended_ms_ago = (options.rounds - number) * options.listens
        log = make_log(options.listens, options.users, options.partitions, options.seed + number, ended_ms_ago)
        worker.start()
        wait_until(worker.is_ready, READY_TIMEOUT_S, "the worker is ready")
        self.rig.publish(worker.topics.listens.name, log)
        wait_until(lambda: num_done(worker.progress) >= options.listens, DRAIN_TIMEOUT_S, "all listens are folded")
        stopping_s = time.monotonic()
        code = worker.stop()
        started_s = time.monotonic()
        worker.start()
        wait_until(worker.is_ready, READY_TIMEOUT_S, "the worker is ready again")
        ready_s = time.monotonic()
        worker.stop()
        return {
            "stop_s": round(started_s - stopping_s, 2),
            "ready_s": round(ready_s - started_s, 2),
            "code": float(-1 if code is None else code),
        }


def measure_recount(rig: Rig, options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Alternate restarts with and without counting.

    Returns:
        All runs, and the difference of the medians.
    """
    runs = alternate(Recount(rig, options).peers(), options.rounds, say)
    medians = {name: statistics.median(run["ready_s"] for run in of_peer) for name, of_peer in runs.items()}
    return {**runs, "recount_s": round(medians["counting"] - medians["plain"], 2)}
