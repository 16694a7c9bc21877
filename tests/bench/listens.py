"""CPU and wall time per listen: the lane beside a bare aiokafka loop, stock Faust and quixstreams, in the same rounds.

All read the same kind of log and end with equal states: a first round, which no figure comes from, warms the broker up
and compares every peer's changelog with the pure fold of its log. Stock Faust gets a tenth of the listens of a tenth of
the users, for it is slow: histories are as long as in the others'. A drain of the others lasts half a minute, so that
what a start costs once, half a second, tells little.

The lane counts items for popularity, as a worker does; `uncounted` is the lane without it, which tells what it costs.

What longer histories cost is told by the lane alone, over a log of a tenth of the users: their rings are full, and a
listen in sixteen writes a block (`long`), or none does (`long_ring`).
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sidestream.models.history import erase, fold
from sidestream.models.records.times import EARLIEST_EVENT_AT
from sidestream.streams.contracts.topics import DEAD_LETTER_SUFFIX, MAX_COUNT_RANGES
from sidestream.streams.listens.restore.origin import is_reserved
from sidestream.streams.listens.settings import LaneSettings
from sidestream.tokenizer.catalogue import StoredSid
from tests.bench.peers.quix_env import ensure_python, find_python
from tests.bench.support.harness import (
    Bench,
    alternate,
    at_least,
    at_most,
    cpu_seconds,
    lane_overrides,
    median_ratio,
    option_parser,
)
from tests.bench.support.rig import Log, Rig, make_log, open_rig, pure_fold, wait_until
from tests.bench.support.work import NUM_ITEMS, read

LONG_PEERS = ("long", "long_ring")
PEERS = ("bare", "lane", "uncounted", "stock", "quix", "quix_exactly_once", *LONG_PEERS)
STOCK_SHARE = 10
LONG_SHARE = 10
VISIBLE_S = 10.0
STEADY_PER_S, STEADY_PARTITIONS, STEADY_TICK_S = 1_000, 16, 0.02
STEADY_WARMUP_S = 5.0

Run = dict[str, Any]


class Drains:
    """Runs of the peers over logs that lie on the broker.

    Args:
        rig: The broker.
        options: Sizes.
    """

    def __init__(self, rig: Rig, options: argparse.Namespace) -> None:
        self.rig, self.options = rig, options
        self.lane = lane_overrides(options.lane)
        self.logs: dict[str, Log] = {}
        self.sizes: dict[str, int] = {}
        self.source = self._publish(options.listens, options.users)
        share = STOCK_SHARE if "stock" in options.peers else 0
        self.stock_source = self._publish(options.listens // share, options.users // share) if share else ""
        is_long = any(name in options.peers for name in LONG_PEERS)
        self.long_source = self._publish(options.listens, options.users // LONG_SHARE) if is_long else ""

    def _publish(self, listens: int, users: int) -> str:
        log: Log = make_log(listens, users, self.options.partitions, self.options.seed)
        topic = self.rig.topic(self.rig.name("listens"), self.options.partitions)
        self.rig.topic(topic + DEAD_LETTER_SUFFIX, self.options.partitions)
        self.rig.publish(topic, log)
        self.logs[topic], self.sizes[topic] = log, listens
        return topic

    def peer(self, name: str) -> Callable[[int], Run]:
        """Give what runs a peer once."""
        runs: dict[str, Callable[[int], Run]] = {
            "bare": self._bare,
            "uncounted": partial(self._lane, self.source, {}, counts=False),
            "lane": partial(self._lane, self.source, {}),
            "long": partial(self._lane, self.long_source, {}),
            "long_ring": partial(self._lane, self.long_source, {"history_events": 0}),
            "stock": self._stock,
        }
        return runs.get(name) or partial(self._quix, name == "quix_exactly_once")

    def _config(self, name: str, source: str, **lane: int) -> Run:
        group = self.rig.name(name)
        return {
            "source": source,
            "partitions": self.options.partitions,
            "group": group,
            "data_dir": str(self.rig.folder / group),
            "listens": self.sizes[source],
            "lane": {**self.lane, **lane},
            "mode": "drain",
        }

    def _bare(self, number: int) -> Run:
        config = self._config("bare", self.source)
        config["changelog"] = self.rig.topic(config["group"] + "-changelog", self.options.partitions, compacted=True)
        return self._checked(number, self.rig.run("bare", config), config, config["changelog"])

    def _lane(self, source: str, lane: dict[str, int], number: int, *, counts: bool = True) -> Run:
        config = self._config("lane", source, **lane)
        config["changelog"] = self.rig.topic(config["group"] + "-changelog", self.options.partitions, compacted=True)
        if counts:
            config["counts"] = self.rig.topic(config["group"] + "-counts", self.options.partitions, compacted=True)
            config["changes"] = self.rig.topic(config["group"] + "-changes", MAX_COUNT_RANGES)
        return self._checked(number, self.rig.run("lane", config), config, config["changelog"])

    def _stock(self, number: int) -> Run:
        config = self._config("stock", self.stock_source, history_events=0)
        # The name that Faust gives the changelog of its table.
        changelog = self.rig.topic(f"{config['group']}-states-changelog", self.options.partitions, compacted=True)
        return self._checked(number, self.rig.run("stock", config), config, changelog)

    def _quix(self, exactly_once: bool, number: int) -> Run:
        config = {
            **self._config("quix", self.source, history_events=0),
            "exactly_once": exactly_once,
            "commit_s": self.options.quix_commit_s,
        }
        run = self.rig.run("quix", config, ensure_python())
        return self._checked(number, run, config, f"changelog__{config['group']}--{self.source}--default")

    def _checked(self, number: int, run: Run, config: Run, changelog: str) -> Run:
        """Hold a first run's states to the pure fold: a peer that did less would look cheap."""
        if number == 0:
            history_events = LaneSettings(**config["lane"]).history_events
            expected = pure_fold(self.logs[config["source"]], history_events)
            # Kafka writes a transaction's markers after its ack: until then it is not visible.
            deadline_s = time.monotonic() + VISIBLE_S
            while (wrong := self._num_wrong(changelog, expected)) and time.monotonic() < deadline_s:
                time.sleep(0.2)
            if wrong:
                raise RuntimeError(f"{changelog}: {wrong} keys differ from the {len(expected)} of the fold")
        return {key: round(value, 2) for key, value in run.items()}

    def _num_wrong(self, changelog: str, expected: dict[bytes, bytes]) -> int:
        found = self.rig.last_values(changelog, self.options.partitions)
        values = {key: value for key, value in found.items() if not is_reserved(key)}
        if changelog.startswith("changelog__"):  # quixstreams: `message key|state key`
            values = {key.rpartition(b"|")[0]: value for key, value in values.items()}
        return sum(values.get(key) != expected.get(key) for key in {*values, *expected})


async def publish_steadily(rig: Rig, topic: str, seconds: float, users: int) -> int:
    """Publish listens at an even rate.

    Returns:
        How many.
    """
    log = iter(
        record
        for part in zip(*make_log(int(STEADY_PER_S * seconds), users, 1, seed=99), strict=True)
        for record in part
    )
    producer = rig.clients.async_producer()
    await producer.start()
    per_tick, sent, began_s = int(STEADY_PER_S * STEADY_TICK_S), 0, time.perf_counter()
    try:
        while sent < STEADY_PER_S * seconds:
            for _ in range(per_tick):
                key, value = next(log)
                await producer.send(topic, value, key=key)
            sent += per_tick
            await asyncio.sleep(max(0.0, began_s + sent / STEADY_PER_S - time.perf_counter()))
        await producer.flush()
    finally:
        await producer.stop()
    return sent


def measure_steady(rig: Rig, options: argparse.Namespace) -> Run:
    """Measure the lane's share of a core while listens trickle in."""
    source, group = rig.topic(rig.name("steady"), STEADY_PARTITIONS), rig.name("steady-lane")
    rig.topic(source + DEAD_LETTER_SUFFIX, STEADY_PARTITIONS)
    changelog = rig.topic(group + "-changelog", STEADY_PARTITIONS, compacted=True)
    config = {
        "source": source,
        "changelog": changelog,
        "partitions": STEADY_PARTITIONS,
        "group": group,
        "data_dir": str(rig.folder / group),
        "lane": lane_overrides(options.lane),
        "mode": "steady",
    }
    worker = rig.start("lane", config)
    warmup_s = min(STEADY_WARMUP_S, options.steady_s)
    shares: list[float] = []

    async def sample() -> None:
        await asyncio.sleep(warmup_s)
        cpu_s, wall_s = cpu_seconds(worker.pid), time.perf_counter()
        await asyncio.sleep(options.steady_s)
        shares.append((cpu_seconds(worker.pid) - cpu_s) / (time.perf_counter() - wall_s))

    async def both() -> int:
        publishing = publish_steadily(rig, source, warmup_s + options.steady_s + 1.0, options.users)
        sent, _ = await asyncio.gather(publishing, sample())
        return sent

    asyncio.run(publish_steadily(rig, source, 1.0, options.users))
    wait_until(lambda: _committed(rig, group, source) > 0, 30, "the lane folds the first listens")
    sent = asyncio.run(both()) + STEADY_PER_S
    wait_until(lambda: _committed(rig, group, source) == sent, 15, "the lane keeps up")
    worker.kill()
    return {"core_share": round(shares[0], 4), "listens": sent, "seconds": options.steady_s}


def _committed(rig: Rig, group: str, topic: str) -> int:
    from kafka import TopicPartition

    consumer = rig.clients.consumer(group_id=group)
    try:
        return sum(consumer.committed(TopicPartition(topic, n)) or 0 for n in range(STEADY_PARTITIONS))
    finally:
        consumer.close()


def full_value_bytes() -> int:
    """Return the size of the largest state there is: full ring, event ids and versions, blocks, an erasure."""
    versions = [f"{number:012x}" for number in range(4)]

    def look(key: int) -> StoredSid:
        return StoredSid(versions[key % 4], (key % 256, 1, 2))

    listens = [
        read(
            b'{"event_id":"e%d","user_id":"u","item_id":"item-%d","at":%d}'
            % (number, number % NUM_ITEMS, EARLIEST_EVENT_AT + number)
        )
        for number in range(200)
    ]
    records = [(n, listen) for n, listen in enumerate(listens) if listen is not None]
    return len(fold(erase(None, 0), records, look, LaneSettings().history_events).state)


def judge(bench: Bench, runs: dict[str, list[Run]], steady: Run) -> None:
    """Make the figures and hold them to their limits."""
    cpu = {name: [run["cpu_us"] for run in of_peer] for name, of_peer in runs.items()}
    rates = {name: [run["per_s"] for run in of_peer] for name, of_peer in runs.items()}
    quix = [min(pair) for pair in zip(*(cpu[n] for n in ("quix", "quix_exactly_once") if n in cpu), strict=True)]
    lane = cpu["lane"]
    bench.results = {
        "cpu_us": cpu,
        "cpu_us_median": {name: statistics.median(values) for name, values in cpu.items()},
        "per_s": rates,
        "steady": steady,
    }
    bench.checks = [
        at_most("lane_vs_bare", median_ratio(lane, cpu["bare"]) if "bare" in cpu else None, 1.2),
        at_least("rate_vs_bare", median_ratio(rates["lane"], rates["bare"]) if "bare" in rates else None, 0.8),
        at_most("counts_cost", median_ratio(lane, cpu["uncounted"]) if "uncounted" in cpu else None, 1.03),
        at_least("stock_vs_lane", median_ratio(cpu["stock"], lane) if "stock" in cpu else None, 10),
        at_least("quix_vs_lane", median_ratio(quix, lane) if quix else None, 1.5),
        at_most("value_bytes", full_value_bytes(), 1_400),
        at_least("listens_per_s", statistics.median(rates["lane"]), 40_000),
        at_most("blocks_cost", median_ratio(cpu["long"], cpu["long_ring"]) if "long" in cpu else None, 1.5),
        at_most("steady_core_share", steady["core_share"], 0.25),
    ]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--listens", type=int, default=None, help="in the log that is drained")
    parser.add_argument("--users", type=int, default=None, help="who listened")
    parser.add_argument("--steady-s", type=float, default=None, help="how long the even rate is measured")
    parser.add_argument("--quix-commit-s", type=float, default=5.0, help="commit interval of quixstreams")
    parser.add_argument("--peers", default=None, help=f"with commas, of {', '.join(PEERS)}; lane is always there")
    options = parser.parse_args(arguments)
    small = options.smoke
    options.rounds = options.rounds or (1 if small else 3)
    options.listens = options.listens or (4_000 if small else 1_500_000)
    options.users = options.users or (200 if small else 50_000)
    options.steady_s = options.steady_s or (1.0 if small else 20.0)
    if options.peers is None:
        # A test must not fetch packages: it takes quixstreams along only where it is there already.
        options.peers = [name for name in PEERS if not small or not name.startswith("quix") or find_python()]
        # A process more, and among so few listens it tells nothing.
        options.peers = [name for name in options.peers if not small or name != "uncounted"]
    else:
        chosen = {"lane", *options.peers.split(",")}
        if chosen & {*LONG_PEERS}:
            chosen.update(LONG_PEERS)
        options.peers = [name for name in PEERS if name in chosen]
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("listens", options)
    if any(name.startswith("quix") for name in options.peers):
        bench.say(f"quixstreams runs from an environment of its own: {ensure_python()}")
    with open_rig(options.bootstrap) as rig:
        drains = Drains(rig, options)
        bench.say(f"{options.listens} listens of {options.users} users on {options.partitions} partitions")
        unjudged = 0 if options.smoke else 1
        peers = {name: drains.peer(name) for name in options.peers}
        runs = alternate(peers, unjudged + options.rounds, bench.say)
        runs = {name: of_peer[unjudged:] for name, of_peer in runs.items()}
        steady = measure_steady(rig, options)
        bench.say(f"steady: {steady}")
    judge(bench, runs, steady)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
