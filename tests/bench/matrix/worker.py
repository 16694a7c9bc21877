"""One worker of the matrix, in a process that was forked for it: the whole worker, its model a hash.

Configuration: `flags` (settings by dotted name), `fault` (arguments of `Fault`, or none), `broken` (a name, or none).
Of an earlier release, only plain workers run: faults and broken builds name parts that it may not have.
"""

import asyncio
import importlib
import os
import random
import tempfile
import threading
from typing import Any

from sidestream.streams.app import create_app
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.logs.log import set_up_logging
from sidestream.streams.settings import load_settings
from sidestream.streams.worker.run import run
from tests.bench.matrix.recommending import matrix_pair


def tell_replays() -> None:
    """Tell of listens that were folded again at once: a killed worker cannot say it at its end."""
    folded = LaneMetrics.folded

    def tell(self: LaneMetrics, applied: int, repeats: int, late: int, stale: int) -> None:
        folded(self, applied, repeats, late, stale)
        if stale:
            os.write(1, b"replayed %d\n" % stale)

    LaneMetrics.folded = tell  # type: ignore[method-assign]


def warm_up(*, plain: bool) -> None:
    """Build a worker once and forget it: what is imported or looked up late is there before the first fork.

    Args:
        plain: Whether all workers are without faults.
    """
    modules = ["uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.off", "uvicorn.loops.asyncio"]
    for module in modules if plain else [*modules, "tests.bench.matrix.builds", "tests.bench.matrix.faults.clients"]:
        importlib.import_module(module)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with tempfile.TemporaryDirectory() as folder:
        settings, _ = load_settings({"kafka.bootstrap": "127.0.0.1:1", "data_dir": folder}, env={})
        create_app(settings, matrix_pair())
    asyncio.set_event_loop(None)
    loop.close()
    if threading.active_count() > 1:
        raise RuntimeError(f"expected one thread before a fork, got {threading.enumerate()}")


def serve(config: dict[str, Any]) -> int:
    """Run until told to stop, killed, or unable to go on; returns the exit code."""
    random.seed()  # every fork has the same otherwise
    tell_replays()
    if config["broken"] is not None:
        from tests.bench.matrix.builds import BROKEN

        BROKEN[config["broken"]].install()
    if config["broken"] is not None or config["fault"] is not None:
        from tests.bench.matrix.faults import Fault
        from tests.bench.matrix.faults.clients import install

        install(Fault(**(config["fault"] or {})))
    settings, _ = load_settings(config["flags"], env={})
    set_up_logging(settings.log)
    asyncio.set_event_loop(asyncio.new_event_loop())
    return run(create_app(settings, matrix_pair()))
