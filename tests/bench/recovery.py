"""From an empty database to a restored table: the lane's bulk restore beside stock Faust's recovery, round by round.

Both read the same records, one for each user with a full ring; time and CPU count from the assignment of the
partitions to the table's being readable, so Kafka's and Python's own start are in neither.
"""

import argparse
import statistics
import sys
from typing import Any

from sidestream.streams.contracts.topics import DEAD_LETTER_SUFFIX
from tests.bench.fleet.states import make_states
from tests.bench.support.harness import Bench, alternate, at_least, lane_overrides, median_ratio, option_parser
from tests.bench.support.rig import Rig, open_rig

Run = dict[str, Any]


class Restores:
    """Runs over two changelogs of the same states.

    The lane records in its own what it belongs to, in a transaction, and Faust's recovery never ends on a changelog
    that ends with a transaction's marker.

    Args:
        rig: The broker.
        options: Sizes.
    """

    def __init__(self, rig: Rig, options: argparse.Namespace) -> None:
        self.rig, self.options = rig, options
        self.lane = lane_overrides(options.lane)
        self.stock_group, partitions = rig.name("stock"), options.partitions
        # Faust names the changelog of a table itself; the lane takes any.
        self.changelogs = {"stock": f"{self.stock_group}-states-changelog", "lane": rig.name("states-changelog")}
        self.source = rig.topic(rig.name("listens"), partitions)
        rig.topic(self.source + DEAD_LETTER_SUFFIX, partitions)
        states = make_states(range(options.records), partitions)
        for changelog in self.changelogs.values():
            rig.publish(rig.topic(changelog, partitions, compacted=True), states)

    def _run(self, peer: str, group: str) -> Run:
        config = {
            "source": self.source,
            "changelog": self.changelogs[peer],
            "partitions": self.options.partitions,
            "group": group,
            "data_dir": str(self.rig.folder / self.rig.name(peer)),
            "listens": 0,
            "lane": self.lane,
            "mode": "restore",
        }
        run = self.rig.run(peer, config)
        if not 0 <= run["records"] - self.options.records <= self.options.partitions:  # the lane's own records
            raise RuntimeError(f"{peer} restored {run['records']} of {self.options.records} records")
        return {key: round(value, 2) for key, value in run.items()}

    def bulk(self, number: int) -> Run:
        """Restore as the lane does."""
        return self._run("lane", self.rig.name(f"lane-{number}"))

    def stock(self, number: int) -> Run:
        """Recover as stock Faust does."""
        del number  # the group names the changelog, so it stays the same
        return self._run("stock", self.stock_group)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--records", type=int, default=None, help="in the changelog")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.smoke else 3)
    options.records = options.records or (2_000 if options.smoke else 100_000)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("recovery", options)
    with open_rig(options.bootstrap) as rig:
        restores = Restores(rig, options)
        unjudged = 0 if options.smoke else 1  # the first round warms the broker up
        runs = alternate({"bulk": restores.bulk, "stock": restores.stock}, unjudged + options.rounds, bench.say)
        runs = {name: of_peer[unjudged:] for name, of_peer in runs.items()}
    cpu = {name: [run["cpu_us"] for run in of_peer] for name, of_peer in runs.items()}
    rates = {name: [run["per_s"] for run in of_peer] for name, of_peer in runs.items()}
    bench.results = {"cpu_us": cpu, "per_s": rates}
    bench.checks = [
        at_least("recovery_per_s", statistics.median(rates["bulk"]), 80_000),
        at_least("bulk_vs_stock", median_ratio(cpu["stock"], cpu["bulk"]), 8),
    ]
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
