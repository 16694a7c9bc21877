"""The listen lane as a worker runs it: inside Faust, validation, metrics and dead letters on.

Modes: `drain` reports once the log is folded, `restore` once the tables are rebuilt, `steady` goes on until killed.
"""

import asyncio
import sys
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import faust

from sidestream.streams.contracts.decode import DEFAULT_LIMITS, decode_listen
from sidestream.streams.contracts.topics import MAX_COUNT_RANGES
from sidestream.streams.group.faust_app import make_faust_app
from sidestream.streams.group.host import FaustHost, register
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.lane import ListenLane
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import META_KEY, TableIdentity
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.popularity.count_publisher import ItemCounting
from sidestream.streams.popularity.partition_changes import CountTopics
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.runtime.garbage_collection import rare_collections
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.metrics import Metrics
from tests.bench.support.work import Meter, contents, leave, lookup, peer_config


class MeteredMetrics(LaneMetrics):
    """The worker's own metrics, which also end a drain."""

    meter: Meter | None = None
    restored_records = 0

    def batch(self, seconds: float, records: int) -> None:
        """Time one batch; it is durable by now."""
        super().batch(seconds, records)
        if self.meter is not None and self.meter.done(records):
            leave(self.meter.report())

    def restored(self, records: int) -> None:
        """Count changelog records."""
        super().restored(records)
        self.restored_records += records


class TimedLane(ListenLane):
    """Takes the times of its first assignment."""

    bench: MeteredMetrics
    _telling: asyncio.Task[None] | None = None

    async def on_assigned(self, partitions: Collection[int]) -> None:
        """Take over partitions, and note when they are restored."""
        if partitions and self._telling is None:
            self._telling = asyncio.create_task(self._tell(time.perf_counter(), time.process_time()))
        await super().on_assigned(partitions)

    async def _tell(self, wall_s: float, cpu_s: float) -> None:
        await self.wait_ready()
        if self.bench.meter is not None:
            self.bench.meter.start()
            return
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        rows = (row for table in self._table.opened() for row in table.scan(b"") if row[0] != META_KEY)
        leave({"records": self.bench.restored_records, "cpu_s": cpu_s, "wall_s": wall_s, **contents(rows)})


def make_lane(config: dict[str, Any]) -> faust.App:
    """Build the app and its lane, as `sidestream.streams.worker.build` does without sessions and catalogue."""
    settings, data_dir = LaneSettings(**config["lane"]), Path(config["data_dir"])
    clients = Clients(KafkaSettings(bootstrap=config["bootstrap"], kind=config["kind"]))
    metrics = MeteredMetrics(Metrics(), config["source"])
    if config["mode"] == "drain":
        metrics.meter = Meter(config["listens"])
    app = make_faust_app(config["group"], clients, settings, data_dir, metrics)
    identity = TableIdentity(config["source"], config["changelog"], config["partitions"])
    table = UserTable(data_dir / "user-state", identity, settings.table)
    make = ListenLane if config["mode"] == "steady" else TimedLane
    decode = partial(decode_listen, limits=DEFAULT_LIMITS)
    counting = None
    if config.get("counts"):
        topics = CountTopics(config["counts"], config["partitions"], config["changes"], MAX_COUNT_RANGES)
        counting = ItemCounting(topics, config["source"], clients, decode, PopularitySettings())
    lane = make(FaustHost(app), clients, table, decode, lookup, settings, metrics, derived=counting)
    if isinstance(lane, TimedLane):
        lane.bench = metrics
    register(app, lane)
    return app


def main() -> None:
    """Run until the report, or until killed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    app, sys.argv[1:] = make_lane(peer_config()), []
    with rare_collections():  # as `streams.worker.run` does
        faust.Worker(app, loglevel="warn", loop=loop, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
