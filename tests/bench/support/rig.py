"""A Kafka for benchmarks: a broker, topics, a made-up log of listens published in bulk, and peers as processes."""

import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import TopicPartition

from sidestream.models.history import block_key, fold
from sidestream.streams.broker import BrokerSettings, RunningBroker, start_broker
from sidestream.streams.contracts import partitioner
from sidestream.streams.contracts.topics import TopicSpec, create_topics
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from tests.bench.support.work import NUM_ITEMS, lookup, read

# For load. A number, because workers of the release before import this file with their own packages.
HEAP_MB = 1_024
ROOT = Path(__file__).resolve().parents[3]
PEER_TIMEOUT_S = 300.0

Records = list[tuple[bytes, bytes]]
Log = list[Records]
"""Keys and values by partition, in offset order."""

partition_of = cache(partitioner.partition_of)


@cache
def make_log(listens: int, users: int, partitions: int, seed: int, ended_ms_ago: int = 0) -> Log:
    """Make up listens: some users listen much more than others, items are popular unevenly, one in 1,000 is unreadable.

    Event ids hold the seed, so that logs of different seeds never repeat one another's events. A log has a listen in
    each millisecond: where one follows another on a topic, the first must have ended long enough ago, or all of the
    second would come late.
    """
    rng = np.random.default_rng(seed)
    weights = rng.lognormal(0.0, 1.0, users)
    of_user = rng.choice(users, listens, p=weights / weights.sum())
    items = (NUM_ITEMS * rng.random(listens) ** 2).astype(int)
    shares = rng.integers(0, 240_000, listens)
    first_at = time.time_ns() // 1_000_000 - ended_ms_ago - listens
    log: Log = [[] for _ in range(partitions)]
    for number, (user, item, ms) in enumerate(zip(of_user.tolist(), items.tolist(), shares.tolist(), strict=True)):
        key = b"user-%d" % user
        if number % 1_000 == 7:
            value = b"{broken"
        else:
            value = (
                b'{"event_id":"e%d-%d","user_id":"user-%d","item_id":"item-%d","at":%d,"listened_ms":%d,'
                b'"duration_ms":240000,"signal":"listen"}'
            ) % (seed, number, user, item, first_at + number, ms)
        log[partition_of(key, partitions)].append((key, value))
    return log


def pure_fold(log: Log, history_events: int = 0) -> dict[bytes, bytes]:
    """Fold a log that begins at offset 0 of each partition: states and blocks by their keys."""
    values: dict[bytes, bytes] = {}
    for records in log:
        of_user: dict[bytes, list[Any]] = {}
        for offset, (key, value) in enumerate(records):
            if (listen := read(value)) is not None:
                of_user.setdefault(key, []).append((offset, listen))
        for key, listens in of_user.items():
            result = fold(None, listens, lookup, history_events)
            values[key] = result.state
            values.update((block_key(key, slot), block) for slot, block in result.blocks.items())
    return values


@dataclass
class Rig:
    """A broker and a folder, both gone when it is closed."""

    broker: RunningBroker
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _names: int = 0

    @property
    def clients(self) -> Clients:
        """Clients of the broker."""
        return Clients(self.broker.kafka)

    def name(self, what: str) -> str:
        """Give a name that nothing else on this broker has."""
        self._names += 1
        return f"bench-{random.SystemRandom().getrandbits(32):08x}-{self._names}-{what}"

    def topic(self, name: str, partitions: int, compacted: bool = False) -> str:
        """Make one topic."""
        config = {"cleanup.policy": "compact"} if compacted else {}
        self.create([TopicSpec(name, "user_id", None, partitions, compacted, config)])
        return name

    def create(self, specs: Sequence[TopicSpec]) -> None:
        """Make topics."""
        admin = self.broker.topic_admin()
        try:
            admin.create(specs, -1)
        finally:
            admin.close()

    def create_missing(self, specs: Sequence[TopicSpec]) -> None:
        """Make those topics that are not there."""
        admin = self.broker.topic_admin()
        try:
            create_topics(admin, specs)
        finally:
            admin.close()

    def publish(self, topic: str, log: Log, stamps: Sequence[Sequence[int]] | None = None) -> None:
        """Publish a log, each partition in its order, in large batches.

        Args:
            topic: Topic name.
            log: Keys and values.
            stamps: Kafka timestamps in the same order; none for now.
        """
        asyncio.run(self._publish(topic, log, stamps))

    async def _publish(self, topic: str, log: Log, stamps: Sequence[Sequence[int]] | None) -> None:
        producer = self.clients.async_producer(max_batch_bytes=524_288)
        await producer.start()
        try:
            for partition, records in enumerate(log):
                builder = producer.create_batch()
                of_records = itertools.repeat(None) if stamps is None else stamps[partition]
                for (key, value), stamp in zip(records, of_records, strict=False):
                    if builder.append(key=key, value=value, timestamp=stamp) is None:
                        await (await producer.send_batch(builder, topic, partition=partition))
                        builder = producer.create_batch()
                        builder.append(key=key, value=value, timestamp=stamp)
                if builder.record_count():
                    await (await producer.send_batch(builder, topic, partition=partition))
        finally:
            await producer.stop()

    def last_values(self, topic: str, partitions: int) -> dict[bytes, bytes]:
        """Read a compacted topic: the last value of every key."""
        return asyncio.run(self._last_values(topic, partitions))

    async def _last_values(self, topic: str, partitions: int) -> dict[bytes, bytes]:
        consumer = self.clients.async_consumer()
        await consumer.start()
        try:
            tps = [TopicPartition(topic, number) for number in range(partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            values: dict[bytes, bytes] = {}
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    values.update((record.key, record.value) for record in records)
            return values
        finally:
            await consumer.stop()

    def start(self, peer: str, config: Mapping[str, Any], python: str = sys.executable) -> subprocess.Popen[bytes]:
        """Start a peer of `tests.bench.peers`; what it says beside its report goes to a log file."""
        log = self.folder / f"{len(self.processes)}-{peer}.log"
        told = {"bootstrap": self.broker.bootstrap, "kind": self.broker.kind, **config}
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [python, "-m", f"tests.bench.peers.{peer}", json.dumps(told)],
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        self.processes.append(process)
        return process

    def run(self, peer: str, config: Mapping[str, Any], python: str = sys.executable) -> dict[str, Any]:
        """Run a peer to its end.

        Returns:
            What it reported.

        Raises:
            RuntimeError: It ended without a report; the end of its log is told.
        """
        number = len(self.processes)
        process = self.start(peer, config, python)
        timer = threading.Timer(PEER_TIMEOUT_S, process.kill)
        timer.start()
        out, _ = process.communicate()
        timer.cancel()
        lines = out.decode().strip().splitlines()
        try:
            report: dict[str, Any] = json.loads(lines[-1])
        except (IndexError, ValueError):
            said = (self.folder / f"{number}-{peer}.log").read_text(errors="replace")[-3_000:]
            raise RuntimeError(f"peer {peer} ended with {process.returncode} and no report:\n{said}") from None
        return report

    def close(self) -> None:
        """Leave nothing behind."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(20)
            if process.stdout is not None:
                process.stdout.close()
        self.broker.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def open_rig(bootstrap: str | None) -> Iterator[Rig]:
    """Have a rig for the length of a block: on a Kafka of its own, or on a running one."""
    folder = Path(tempfile.mkdtemp(prefix="sidestream-bench-"))
    settings = BrokerSettings(kind="kafka", port=0, data_dir=folder / "kafka", heap_mb=HEAP_MB)
    kafka = KafkaSettings(bootstrap=bootstrap) if bootstrap else None
    rig = Rig(start_broker(settings, kafka), folder)
    try:
        yield rig
    finally:
        rig.close()


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(0.05)
    return found
