"""From an empty database to a restored table, round by round: the lane beside a bare reader and stock Faust's recovery.

All read the same records: a changelog as a lane leaves it after days (`fleet/changelog.py`). Of its records, at the
full size, 49 % are states, 50 % blocks and 1 % tombstones; 39 % are superseded by later ones; for every 100 there are
34 markers of transactions and 1 record of an aborted one. `results.mix` has the shares of a run. Time and CPU count
from the assignment of the partitions to the table's being readable, so Kafka's and Python's own start are in none of
them; what a lane does once for an assignment (a producer for each partition, the description of the topics, a garbage
collection: 0.2 s of CPU) is in its figures.

`floor` (`peers/floor.py`) is the least that can be done: the same records, the same options of RocksDB, no check. A run
fails unless its tables hold what the changelog amounts to, by number and by a digest of all keys and values.

Stock Faust's changelog has the same committed records in the same batches, but without transactions: its recovery waits
for the record before the end of the log, and where that is a marker, it waits for ever. Its rate and CPU count by the
same number of records.
"""

import argparse
import asyncio
import statistics
import sys
from typing import Any

from sidestream.streams.contracts.topics import DEAD_LETTER_SUFFIX
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin, describe_topics
from sidestream.streams.listens.table.meta import TableIdentity
from tests.bench.fleet.changelog import make_changelog
from tests.bench.fleet.transactions import publish_plain, publish_transactions
from tests.bench.support.harness import (
    Bench,
    alternate,
    at_least,
    at_most,
    lane_overrides,
    median_ratio,
    option_parser,
)
from tests.bench.support.rig import Rig, open_rig
from tests.bench.support.work import contents

Run = dict[str, Any]


class Restores:
    """Runs over two changelogs of the same states.

    Args:
        rig: The broker.
        options: Sizes.

    Attributes:
        mix: What the changelog holds.
    """

    def __init__(self, rig: Rig, options: argparse.Namespace) -> None:
        self.rig, self.options = rig, options
        self.lane = lane_overrides(options.lane)
        self.stock_group, partitions = rig.name("stock"), options.partitions
        # Faust names the changelog of a table itself; the lane takes any.
        stock, lane = f"{self.stock_group}-states-changelog", rig.name("states-changelog")
        self.changelogs = {"stock": stock, "lane": lane, "floor": lane}
        self.source = rig.topic(rig.name("listens"), partitions)
        rig.topic(self.source + DEAD_LETTER_SUFFIX, partitions)
        # The lane would add an origin record of its own.
        source_id = describe_topics(rig.clients, self.source)[self.source].topic_id
        partitioner = TableIdentity(self.source, lane, partitions).partitioner
        origin = Origin(self.source, source_id, partitions, partitioner=partitioner)
        changelog = make_changelog(options.records, partitions, (ORIGIN_KEY, origin.to_bytes()), options.seed)
        self.mix = {name: round(value, 4) for name, value in changelog.shares().items()}
        self.expected = contents(row for table in changelog.final for row in table.items())
        for name, publish in ((stock, publish_plain), (lane, publish_transactions)):
            asyncio.run(publish(rig.clients, rig.topic(name, partitions, compacted=True), changelog))

    def _run(self, peer: str, group: str) -> Run:
        config = {
            "source": self.source,
            "changelog": self.changelogs[peer],
            "partitions": self.options.partitions,
            "group": group,
            "data_dir": str(self.rig.folder / self.rig.name(peer)),
            "listens": 0,
            "records": int(self.mix["records"]),
            "lane": self.lane,
            "mode": "restore",
        }
        run, records = self.rig.run(peer, config), int(self.mix["records"])
        if run.get("records", records) != records:
            raise RuntimeError(f"{peer} read {run['records']} of {records} records")
        if (found := {name: run[name] for name in self.expected}) != self.expected:
            raise RuntimeError(f"{peer}: expected the tables to hold {self.expected}, got {found}")
        return {"cpu_us": round(run["cpu_s"] / records * 1e6, 2), "per_s": round(records / run["wall_s"], 2)}

    def bulk(self, number: int) -> Run:
        """Restore as the lane does."""
        return self._run("lane", self.rig.name(f"lane-{number}"))

    def floor(self, number: int) -> Run:
        """Read and write, and no more."""
        return self._run("floor", self.rig.name(f"floor-{number}"))

    def stock(self, number: int) -> Run:
        """Recover as stock Faust does."""
        del number  # the group names the changelog, so it stays the same
        return self._run("stock", self.stock_group)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--records", type=int, default=None, help="in the changelog, roughly")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.smoke else 3)
    options.records = options.records or (2_000 if options.smoke else 300_000)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("recovery", options)
    with open_rig(options.bootstrap) as rig:
        restores = Restores(rig, options)
        bench.say(f"the changelog: {restores.mix}")
        unjudged = 0 if options.smoke else 1  # the first round warms the broker up
        peers = {"floor": restores.floor, "bulk": restores.bulk, "stock": restores.stock}
        runs = alternate(peers, unjudged + options.rounds, bench.say)
        runs = {name: of_peer[unjudged:] for name, of_peer in runs.items()}
    cpu = {name: [run["cpu_us"] for run in of_peer] for name, of_peer in runs.items()}
    rates = {name: [run["per_s"] for run in of_peer] for name, of_peer in runs.items()}
    bench.results = {"mix": restores.mix, "cpu_us": cpu, "per_s": rates}
    bench.checks = [
        at_least("recovery_per_s", statistics.median(rates["bulk"]), 80_000),
        at_least("bulk_vs_stock", median_ratio(cpu["stock"], cpu["bulk"]), 8),
        at_most("recovery_vs_floor", median_ratio(cpu["bulk"], cpu["floor"]), 1.6),
    ]
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
