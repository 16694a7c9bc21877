"""From an item's event to its value in `item-sids.v1`, on a real Kafka: how many a second, and how late when steady.

One worker in the role `tokenize` with the shipped tokenizer and its default encoder; broker and load generator run on
the same cores. The rate is taken from the broker's own times of the values, over all but the first tenth; a value is as
late as its reader gets it, measured from the moment its event should have been sent.
"""

import argparse
import asyncio
import json
import random
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import TopicSpec, build_topics
from sidestream.streams.demo.shipped import shipped_pair
from tests.bench.support.harness import Bench, at_least, at_most, cpu_seconds, percentile, told
from tests.bench.support.open_loop import Load, OpenLoop
from tests.bench.support.rig import Log, Rig, open_rig, partition_of, wait_until

# fmt: off
WORDS = (
    "rain", "forest", "sleep", "calm", "night", "goal", "match", "league", "coach", "derby", "crime", "trial", "court",
    "detective", "case", "history", "science", "music", "morning", "interview", "listener", "season", "story", "market",
    "garden", "kitchen", "river", "engine", "letter", "island", "winter", "summer",
)
# fmt: on
WARM_UP_SHARE = 0.1
WARM_UP_S = 2.0


def item_event(item_id: str, rng: random.Random) -> bytes:
    """Make up an episode with a title, names, tags and a description of some 200 characters."""
    return json.dumps(
        {
            "item_id": item_id,
            "kind": "episode",
            "title": " ".join(rng.choices(WORDS, k=6)).title(),
            "creator": f"Creator {rng.randrange(500)}",
            "show": f"Show {rng.randrange(100)}",
            "tags": rng.choices(WORDS, k=3),
            "language": "en",
            "description": " ".join(rng.choices(WORDS, k=32)).capitalize() + ".",
            "duration_ms": 1_000 * rng.randrange(300, 7_200),
            "at": time.time_ns() // 1_000_000,
        }
    ).encode()


def make_items(count: int, partitions: int, seed: int) -> Log:
    """Make up a catalogue, laid out as a producer of items would."""
    rng = random.Random(seed)
    log: Log = [[] for _ in range(partitions)]
    for number in range(count):
        key = b"item-%d-%d" % (seed, number)
        log[partition_of(key, partitions)].append((key, item_event(key.decode(), rng)))
    return log


class TokenizingWorker:
    """A worker that only tokenizes.

    Args:
        rig: The broker.
        options: Settings of the agent to change.
    """

    def __init__(self, rig: Rig, options: argparse.Namespace) -> None:
        prefix = rig.name("")
        self.topics = build_topics(TopicSettings(prefix=prefix))
        rig.create([*self.topics])
        (self.port,) = free_ports(1)
        flags = {
            "data_dir": str(rig.folder / prefix),
            "kafka.bootstrap": rig.broker.bootstrap,
            "topics.prefix": prefix,
            "worker.app_id": f"{prefix}app",
            "worker.role": "tokenize",
            "web.port": self.port,
            **{f"agent.{name}": value for name, value in (pair.split("=", 1) for pair in options.agent)},
        }
        progress = str(rig.folder / f"{prefix}progress")
        config = {"flags": flags, "progress": progress, "artifacts": str(shipped_pair())}
        self._start: Callable[[], subprocess.Popen[bytes]] = lambda: rig.start("worker", config)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process = self._start()
        wait_until(self._is_ready, 60, "the worker is ready")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def cpu_s(self) -> float:
        """Return the CPU time that it has taken."""
        return cpu_seconds(self.process.pid) if self.process is not None else 0.0

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


class ItemLoop(OpenLoop):
    """Item events at an even rate; `starts` are the catalogue's events, `candidates` their values."""

    async def _send(self, producer: AIOKafkaProducer, load: Load, tag: str, end: Callable[[float], bool]) -> None:
        rng, began_s, number = random.Random(tag), time.monotonic(), 0
        while not end(time.monotonic() - began_s):
            at_s = began_s + number / self.per_s
            await asyncio.sleep(max(0.0, at_s - time.monotonic()))
            item_id = f"{tag}-{number}"
            load.scheduled[item_id] = at_s
            await producer.send(self.starts, item_event(item_id, rng), key=item_id.encode())
            number += 1

    async def _read(self, consumer: AIOKafkaConsumer, load: Load) -> None:
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000)
            now_s = time.monotonic()
            for records in fetched.values():
                for record in records:
                    load.answered.setdefault(record.key.decode(), now_s)


async def _count(rig: Rig, spec: TopicSpec, number: int, patience_s: float, cpu: Callable[[], float]) -> dict[str, Any]:
    """Wait until a topic holds so many records, then read their times."""
    consumer = rig.clients.async_consumer()
    await consumer.start()
    try:
        tps = [TopicPartition(spec.name, partition) for partition in range(spec.partitions)]
        give_up_s = time.monotonic() + patience_s
        while sum((await consumer.end_offsets(tps)).values()) < number:
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"{spec.name}: not {number} values within {patience_s} s")
            await asyncio.sleep(0.1)
        cpu_s = cpu()
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        times: list[int] = []
        while len(times) < number:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                times += [record.timestamp for record in records]
    finally:
        await consumer.stop()
    kept = np.sort(times)[int(number * WARM_UP_SHARE) :]
    seconds = max(1e-3, float(kept[-1] - kept[0]) / 1e3)
    return {"items": number, "seconds": seconds, "items_per_s": (len(kept) - 1) / seconds, "cpu_s": cpu_s}


def measure_rate(bench: Bench, rig: Rig, number: int) -> dict[str, Any]:
    """Let a fresh worker tokenize a catalogue that waits for it."""
    options = bench.options
    worker = TokenizingWorker(rig, options)
    spec = worker.topics.catalog_items
    worker.start()
    before_s = worker.cpu_s()
    # The whole catalogue at once: the worker never waits for an event.
    rig.publish(spec.name, make_items(options.items, spec.partitions, options.seed + number))
    found = asyncio.run(_count(rig, worker.topics.item_sids, options.items, 300.0, worker.cpu_s))
    worker.stop()
    found["item_cpu_us"] = (found.pop("cpu_s") - before_s) / options.items * 1e6
    bench.say(f"items {number + 1}: {found}")
    return found


def measure_delay(bench: Bench, rig: Rig) -> list[float]:
    """Send events at an even rate to a worker that has nothing else to do."""
    options = bench.options
    worker = TokenizingWorker(rig, options)
    worker.start()
    names = worker.topics.catalog_items.name, worker.topics.item_sids.name
    loop = ItemLoop(rig.clients, *names, worker.topics.item_sids.partitions, users=1, per_s=options.items_per_s)
    loop.run("warm-up", lambda: True, lambda spent_s: spent_s >= WARM_UP_S, 30.0)
    load = loop.run("steady", lambda: True, lambda spent_s: spent_s >= options.item_seconds, 30.0)
    worker.stop()
    give_up_s = max(load.answered.values(), default=0.0)
    latencies = load.latencies_ms(0.0, float("inf"), give_up_s)
    bench.say(f"steady: {len(latencies)} items, {load.unanswered} unanswered, p99 {percentile(latencies, 0.99)}")
    return latencies


def measure_items(bench: Bench) -> None:
    """Add the figures and checks of the way from event to value."""
    with open_rig(bench.options.bootstrap) as rig:
        rates = [measure_rate(bench, rig, number) for number in range(1 if bench.options.smoke else 3)]
        latencies = measure_delay(bench, rig)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    bench.results["items"] = {
        "rates": rates,
        "delays_ms": {name: round(percentile(latencies, share) or 0.0, 2) for name, share in shares.items()},
    }
    bench.checks += [
        at_least("items_per_s", float(np.median([rate["items_per_s"] for rate in rates])), 2_000),
        at_most("item_p99_ms", percentile(latencies, 0.99), 50),
        told("item_cpu_us", float(np.median([rate["item_cpu_us"] for rate in rates]))),
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sizes of this part."""
    parser.add_argument("--items", type=int, default=None, help="item events that wait, each round")
    parser.add_argument("--items-per-s", type=float, default=100.0, help="rate of the steady part")
    parser.add_argument("--item-seconds", type=float, default=None, help="how long the steady part goes on")
    parser.add_argument("--agent", action="append", default=[], metavar="NAME=VALUE", help="a setting of the agent")


def fill_in(options: argparse.Namespace) -> None:
    """Fill in the sizes that were not given."""
    options.items = options.items or (500 if options.smoke else 30_000)
    options.item_seconds = options.item_seconds or (2.0 if options.smoke else 60.0)
