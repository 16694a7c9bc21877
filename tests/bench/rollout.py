"""A tokenizer version and its model rolled out, and back, on a real Kafka with sessions running.

A worker answers session-starts of an open loop while listens are folded and items arrive, change and go. In the middle
an operator rolls out pair B beside pair A (other seed, other levels, the model trained anew on it), later rolls back.
Then every candidate set of the whole run is held against every value that `item-sids.v1` ever had: each SID must be
one that the item had under the tokenizer version that the set names, and model and snapshot must be of that version.

`rollout_p99_vs_steady` compares session-starts scheduled while a rollout or a rollback was under way, from the order
to the last worker's switch, with those before, between and after, in the same run.
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidestream.models.data import LogFolder
from sidestream.models.records import CandidateSet, CatalogItem, ItemSids
from sidestream.streams.broker.probe import free_ports
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import Topics, build_topics
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.operate.rollout.rollout import Operator
from sidestream.streams.operate.rollout.watch import ControlWatch
from sidestream.streams.worker.process import WorkerProcess
from sidestream.tokenizer.sid import format_sid
from tests.bench.sessions import summary
from tests.bench.support.harness import Bench, at_least, at_most, cpu_seconds, option_parser, percentile, told
from tests.bench.support.open_loop import Load, OpenLoop
from tests.bench.support.rig import Rig, open_rig, wait_until
from tests.bench.support.world_pairs import make_pairs
from tests.models.log_catalogue import catalogue_at

_PATIENCE_S = 900.0


@dataclass
class Phases:
    """What was under way when, in monotonic seconds."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)
    core_shares: dict[str, float] = field(default_factory=dict)

    def within(self, name: str, cpu_s: Callable[[], float], call: Callable[[], Any]) -> None:
        """Do something and note how long it was under way, and what the workers took meanwhile."""
        begun_s, taken_s = time.monotonic(), cpu_s()
        call()
        ended_s = time.monotonic()
        self.core_shares[name] = round((cpu_s() - taken_s) / (ended_s - begun_s), 2)
        if name in ("out", "back"):
            self.spans.append((name, begun_s, ended_s))


class Installation:
    """Topics, workers, and who feeds them."""

    def __init__(self, rig: Rig, options: argparse.Namespace, pairs: Path, log: LogFolder) -> None:
        self.rig, self.options, self.pairs = rig, options, pairs
        prefix = rig.name("")
        self.topics: Topics = build_topics(TopicSettings(prefix=prefix, user_partitions=options.partitions))
        rig.create(list(self.topics))
        self.app_id = f"{prefix}app"
        self.flags = {
            "kafka.bootstrap": rig.broker.bootstrap,
            "topics.prefix": prefix,
            "topics.user_partitions": options.partitions,
            "worker.app_id": self.app_id,
            "artifacts": str(pairs / "a"),
            "generations.folder": str(pairs),
        }
        self.workers: list[WorkerProcess] = []
        self.items = list(_items(log, options.items))
        self.arrived = 0

    @property
    def clients(self) -> Clients:
        """Clients of the broker."""
        return self.rig.clients

    def publish_world(self) -> None:
        """Publish the catalogue, and some listens of everybody."""
        producer = self.clients.producer(linger_ms=10)
        for item in self.items:
            producer.send(self.topics.catalog_items.name, key=item.item_id.encode(), value=item.to_json())
        for number in range(self.options.users * 8):
            self._listen(producer, number)
        producer.flush(60)
        producer.close()

    def start(self) -> None:
        """Start the workers and wait until they have everything."""
        for number in range(self.options.workers):
            (port,) = free_ports(1)
            own = {
                "web.port": port,
                "data_dir": str(self.rig.folder / f"worker-{number}"),
                "generations.worker_name": f"worker-{number}",
            }
            self.workers.append(WorkerProcess({**self.flags, **own}, self.rig.folder / f"worker-{number}.log"))
        for worker in self.workers:
            worker.wait_ready(180.0)
        wanted = f"sidestream_catalogue_items {float(len(self.items))}"
        for worker in self.workers:
            wait_until(lambda w=worker: wanted in str(w.get("/metrics")[1]), 300, "the whole catalogue")  # type: ignore[misc]

    def cpu_s(self) -> float:
        """Return the CPU time that all workers have taken."""
        return sum(cpu_seconds(worker.process.pid) for worker in self.workers)

    def feed(self, stop: threading.Event) -> None:
        """Send listens, arrivals, changes and removals at even rates until told to stop."""
        producer, number, begun_s = self.clients.producer(linger_ms=5), 0, time.monotonic()
        every = max(1, round(self.options.listens_per_s / self.options.arrivals_per_s))
        while not stop.is_set():
            self._listen(producer, number)
            if number % every == 0:
                self._arrive(producer, self.arrived)
                self.arrived += 1
            number += 1
            time.sleep(max(0.0, begun_s + number / self.options.listens_per_s - time.monotonic()))
        producer.flush(60)
        producer.close()

    def _arrive(self, producer: Any, number: int) -> None:
        """Of ten: seven new items, two with another text, one that goes."""
        place = (number * 7919) % len(self.items)
        old, now_ms = self.items[place], time.time_ns() // 1_000_000
        if number % 10 < 7:
            changed = old.model_copy(
                update={"item_id": f"late-{number}", "title": f"{old.title} {number}", "at": now_ms}
            )
        elif number % 10 < 9:
            changed = old.model_copy(update={"title": f"{old.title}, again {number}", "at": now_ms})
        else:
            producer.send(self.topics.catalog_items.name, key=f"late-{number - 5}".encode(), value=None)
            return
        producer.send(self.topics.catalog_items.name, key=changed.item_id.encode(), value=changed.to_json())

    def _listen(self, producer: Any, number: int) -> None:
        user = f"user-{(number * 31) % self.options.users}"
        item = self.items[(number * number + 13 * number) % len(self.items)].item_id
        now_ms = time.time_ns() // 1_000_000
        listen = {"event_id": f"{user}-{now_ms}-{number}", "user_id": user, "item_id": item, "at": now_ms}
        producer.send(self.topics.listens.name, key=user.encode(), value=json.dumps(listen).encode())


def _items(log: LogFolder, count: int) -> Iterator[CatalogItem]:
    """Take the world's items, and more like them under other names."""
    world = [item.model_copy(update={"expires_at": None}) for item in catalogue_at(log).values()]
    for number in range(max(count, len(world))):
        item = world[number % len(world)]
        again = number // len(world)
        if again:
            fields = {"item_id": f"{item.item_id}-{again}", "title": f"{item.title} (take {again})"}
            item = item.model_copy(update=fields)
        yield item


def operate(installation: Installation, phases: Phases, versions: dict[str, str], bench: Bench) -> None:
    """Roll out B, and back to A, with quiet times between."""
    options = installation.options
    groups = [installation.app_id + role for role in ("", "-recommend", "-tokenize")]
    watch = ControlWatch(installation.clients, installation.topics, groups, 6.0)
    operator = Operator(watch, installation.topics, _PATIENCE_S, bench.say)
    try:
        cpu_s = installation.cpu_s
        phases.within("before", cpu_s, lambda: time.sleep(options.quiet_s))
        phases.within("out", cpu_s, lambda: operator.rollout(versions["b"], "b", "a"))
        bench.results["rss_mb_both"] = _rss_mb(installation)
        phases.within("between", cpu_s, lambda: time.sleep(options.quiet_s))
        phases.within("back", cpu_s, operator.rollback)
        phases.within("after", cpu_s, lambda: time.sleep(options.quiet_s))
    finally:
        watch.close()


def _rss_mb(installation: Installation) -> list[int]:
    lines = [Path(f"/proc/{w.process.pid}/status").read_text().splitlines() for w in installation.workers]
    return [int(line.split()[1]) // 1024 for of_worker in lines for line in of_worker if line.startswith("VmRSS")]


def judge(installation: Installation, versions: dict[str, str]) -> dict[str, Any]:
    """Hold every candidate set against every value that the catalogue ever had."""
    sids: set[tuple[str, str, str]] = set()
    for record in read_topic(installation.clients, installation.topics.item_sids.name):
        if record.value is not None:
            value = ItemSids.from_json(record.value)
            sids |= {(value.item_id, version, format_sid(t.sid)) for version, t in value.versions.items()}
    models: dict[str, set[str]] = {}
    by_version: Counter[str] = Counter()
    fallbacks: Counter[str] = Counter()
    mixed = candidates = 0
    names = {version: name for name, version in versions.items()}
    for record in read_topic(installation.clients, installation.topics.candidates.name):
        answer = CandidateSet.from_json(record.value or b"")
        version = answer.tokenizer_version
        by_version[names.get(version, version)] += 1
        models.setdefault(version, set()).add(answer.model_version)
        fallbacks[answer.fallback.reason if answer.fallback is not None else "model"] += 1
        candidates += len(answer.candidates)
        fits = answer.catalogue_version.startswith(f"{version}.") and version in names
        fits = fits and all((c.item_id, version, c.sid) in sids for c in answer.candidates)
        mixed += not fits
    mixed += sum(len(found) - 1 for found in models.values())
    mixed += len(models) - len({model for found in models.values() for model in found})
    return {
        "mixed": mixed,
        "candidates": candidates,
        "sets": dict(by_version),
        "outcomes": dict(fallbacks),
        "known_sids": len(sids),
    }


def measure(bench: Bench, rig: Rig) -> None:
    """Run it."""
    options = bench.options
    bench.say("training two pairs")
    versions = make_pairs(rig.folder)
    installation = Installation(rig, options, rig.folder / "pairs", LogFolder(rig.folder / "world"))
    installation.publish_world()
    installation.start()
    bench.results["rss_mb_one"] = _rss_mb(installation)
    phases, stop = Phases(), threading.Event()
    names = installation.topics
    loop = OpenLoop(
        rig.clients, names.session_starts.name, names.candidates.name, options.partitions, options.users, options.per_s
    )
    loop.run("warm-up", lambda: True, lambda spent_s: spent_s >= min(5.0, options.quiet_s), 30.0)
    with ThreadPoolExecutor(2) as threads:
        feeding = threads.submit(installation.feed, stop)
        operating = threads.submit(operate, installation, phases, versions, bench)
        load = loop.run("load", lambda: True, lambda _: operating.done(), 60.0)
        stop.set()
        for thread in (operating, feeding):
            if thread.exception() is not None:
                for worker in installation.workers:
                    bench.say(worker.log_file.read_text()[-2_000:])
            thread.result()
    bench.results["core_shares"] = phases.core_shares
    bench.results["arrivals"] = installation.arrived
    tell(bench, load, phases)
    judged = judge(installation, versions)
    for worker in installation.workers:
        worker.stop()
    bench.results |= judged
    bench.checks += [
        at_most("mixed_versions", judged["mixed"], 0),
        at_most("unanswered", load.unanswered, 0),
        at_least("sets_of_both", min(judged["sets"].get(name, 0) for name in versions), 1),
    ]


def tell(bench: Bench, load: Load, phases: Phases) -> None:
    """Put the latencies beside what was under way."""
    give_up_s = time.monotonic()
    busy: list[float] = []
    for name, begun_s, ended_s in phases.spans:
        latencies = load.latencies_ms(begun_s, ended_s, give_up_s)
        busy += latencies
        bench.results[name] = {"seconds": round(ended_s - begun_s, 1), **summary(latencies)}
    edges = [0.0, *(edge for _, *span in phases.spans for edge in span), float("inf")]
    quiet = [
        latency
        for begun_s, ended_s in zip(edges[::2], edges[1::2], strict=True)
        for latency in load.latencies_ms(begun_s, ended_s, give_up_s)
    ]
    bench.results["steady"] = summary(quiet)
    steady_p99, busy_p99 = percentile(quiet, 0.99), percentile(busy, 0.99)
    ratio = busy_p99 / steady_p99 if steady_p99 and busy_p99 else None
    bench.checks += [
        at_most("rollout_p99_vs_steady", ratio, 2.0),
        told("steady_p99_ms", steady_p99),
        told("rollout_p99_ms", busy_p99),
    ]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--items", type=int, default=None, help="in the catalogue at the start")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--users", type=int, default=None, help="who listens and asks")
    parser.add_argument("--per-s", type=float, default=None, help="rate of session-starts")
    parser.add_argument("--listens-per-s", type=float, default=None, help="rate of listens")
    parser.add_argument("--arrivals-per-s", type=float, default=None, help="rate of new, changed and removed items")
    parser.add_argument("--quiet-s", type=float, default=None, help="time before, between and after the rollouts")
    options = parser.parse_args(arguments)
    small = options.smoke
    options.items = options.items or (300 if small else 20_000)
    options.users = options.users or (50 if small else 1_000)
    options.per_s = options.per_s or 20.0
    options.listens_per_s = options.listens_per_s or (50.0 if small else 200.0)
    options.arrivals_per_s = options.arrivals_per_s or (10.0 if small else 20.0)
    options.quiet_s = options.quiet_s or (3.0 if small else 40.0)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    bench = Bench("rollout", parse(arguments))
    with open_rig(bench.options.bootstrap) as rig:
        measure(bench, rig)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
