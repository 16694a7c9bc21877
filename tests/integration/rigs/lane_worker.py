"""A worker with nothing but the listen lane, for tests that kill it: `python lane_worker.py '{...}'`.

Keys: bootstrap, kind, prefix, partitions, data_dir, session_timeout_ms, guarantee; fault (see `lane_faults`) or null;
lane, more settings of it; counts, whether it counts listens by item, as releases before live counts did not.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import faust

from sidestream.streams.contracts.decode import decode_listen, decode_user_erasure
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import Topics, build_topics
from sidestream.streams.group.faust_app import make_faust_app
from sidestream.streams.group.host import FaustHost, register
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.erasure.feed import ErasureFeed
from sidestream.streams.listens.erasure.sweep import Sweep
from sidestream.streams.listens.lane import ListenLane
from sidestream.streams.listens.restore.progress import not_restored
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import TableIdentity
from sidestream.streams.listens.table.upkeep import TableUpkeep
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.popularity.aggregator import make_aggregator
from sidestream.streams.popularity.count_publisher import ItemCounting, count_topics
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.runtime.clock import WallClock
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.tokenizer.catalogue import StoredSid
from tests.integration.rigs.lane_faults import Fault, FaultyClients

# So few events that blocks are written over.
LANE = LaneSettings(commit_interval_ms=200, max_batch_records=500, history_events=64)
# So often that changes and totals are in flight whenever a worker is killed.
POPULARITY = PopularitySettings(half_life_hours=240, publish_s=0.2)
VERSION = "0123456789ab"


def static_lookup(item_key: int) -> StoredSid | None:
    """A catalogue that never changes, with some items missing."""
    if item_key % 7 == 0:
        return None
    return StoredSid(VERSION, (item_key % 256, item_key // 256 % 256, item_key // 65_536 % 256))


class ToldReplays(LaneMetrics):
    """Metrics that log at once what a killed process could not log at its end."""

    def folded(self, applied: int, repeats: int, late: int, stale: int) -> None:
        """Log listens that were folded before."""
        super().folded(applied, repeats, late, stale)
        if stale:
            print(f"replayed {stale}", flush=True)


def user_table(data_dir: Path, topics: Topics, settings: LaneSettings = LANE) -> UserTable:
    """The table that a worker with this folder has."""
    identity = TableIdentity(topics.listens.name, topics.user_state_changelog.name, topics.listens.partitions)
    return UserTable(data_dir / "user-state", identity, settings.table)


def make_lane(config: dict) -> tuple[faust.App, ListenLane]:
    """The app and its lane."""
    topics = build_topics(TopicSettings(prefix=config["prefix"], user_partitions=config["partitions"]))
    session_ms = config["session_timeout_ms"]
    kafka = KafkaSettings(
        bootstrap=config["bootstrap"],
        kind=config["kind"],
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // 6,
    )
    clients = FaultyClients(kafka, Fault(**config["fault"])) if config["fault"] else Clients(kafka)
    data_dir, metrics = Path(config["data_dir"]), ToldReplays(Metrics(), topics.listens.name)
    settings = LaneSettings(**{**LANE.model_dump(), "guarantee": config["guarantee"], **config["lane"]})
    app = make_faust_app(config["prefix"] + "lane", clients, settings, data_dir, metrics)
    table = user_table(data_dir, topics, settings)
    asked = topics.user_erasures.name
    sweep = Sweep(topics.listens.name, asked, clients, settings, WallClock(), time.monotonic)
    erasures = ErasureFeed(asked, clients, decode_user_erasure, sweep, Placement(topics.user_erasures))
    counting = ItemCounting(count_topics(topics), topics.listens.name, clients, decode_listen, POPULARITY)
    host = FaustHost(app)
    lane = ListenLane(
        host,
        clients,
        table,
        decode_listen,
        static_lookup,
        settings,
        metrics,
        erasures=erasures,
        derived=counting if config["counts"] else None,
    )
    aggregator = make_aggregator(
        host, clients, topics, POPULARITY, settings, Metrics(), Pacer(), lambda: bool(not_restored(lane))
    )
    assert aggregator is not None
    for part in (aggregator, lane, erasures) if config["counts"] else (lane, erasures):
        register(app, part)
    upkeep = TableUpkeep(table, lane.tables_in_use, settings, metrics)

    @app.task
    async def keep_up() -> None:
        await app.add_runtime_dependency(upkeep)

    return app, lane


def main() -> None:
    """Run until stopped by a signal."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    app, _ = make_lane(json.loads(sys.argv[1]))
    faust.Worker(app, loglevel="INFO", loop=loop).execute_from_commandline()


if __name__ == "__main__":
    main()
