"""The listen lane under test on a broker: made-up listens, workers as processes, and the pure fold to compare with."""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from kafka import TopicPartition

from sidestream.models.history import block_key, fold, split_block_key
from sidestream.streams.broker import RunningBroker
from sidestream.streams.contracts.deadletters import OFFSET_HEADER, PARTITION_HEADER
from sidestream.streams.contracts.decode import decode_listen
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.restore.origin import is_reserved
from sidestream.streams.listens.table.meta import META_KEY
from sidestream.streams.popularity.values import read_part
from sidestream.tokenizer.popularity import Counts, merge_counts
from sidestream.tokenizer.sid import item_key
from tests.integration.rigs.lane_worker import LANE, POPULARITY, static_lookup, user_table

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("lane_worker.py")
SESSION_MS = 6_000
COUNTED_FROM = 1_960
BAD_VALUES = (b"{broken", b"[]", b'{"event_id":"x"}', None, b"\xff\xfe", b"")


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def make_listens(count: int, users: int, seed: int) -> list[tuple[bytes, bytes | None]]:
    """Keys and values: most are valid, some repeat an event id, are late, or are malformed."""
    rng = random.Random(seed)
    records: list[tuple[bytes, bytes | None]] = []
    for number in range(count):
        user = f"user-{rng.randrange(users)}"
        # The broker's clock judges absurd times, so these lie in the past.
        at = 1_700_000_000_000 + number * 1_000 - (rng.randrange(10**8) if rng.random() < 0.1 else 0)
        listen = {
            "event_id": f"e{number - (rng.randrange(1, 40) if number > 40 and rng.random() < 0.1 else 0)}",
            "user_id": user,
            "item_id": f"item-{rng.randrange(500)}",
            "at": at,
            "listened_ms": rng.choice((None, 1_000, 90_000)),
            "duration_ms": rng.choice((None, 120_000)),
        }
        value: bytes | None = json.dumps({name: v for name, v in listen.items() if v is not None}).encode()
        key = user.encode()
        if number % 50 == 7:
            value = BAD_VALUES[number // 50 % len(BAD_VALUES)]
        elif number % 50 == 8:
            key = b"somebody-else"
        elif number % 50 == 9:
            value = json.dumps({**listen, "at": 4_000_000_000_000}).encode()
        records.append((key, value))
    return records


def weights_of(counts: Counts) -> dict[int, float]:
    """Weights by item key."""
    return dict(zip(counts.keys.tolist(), counts.scaled_to(COUNTED_FROM).tolist(), strict=True))


@dataclass
class Rig:
    """One installation on a broker."""

    kafka: KafkaSettings
    topics: Topics
    prefix: str
    folder: Path
    guarantee: str = "auto"
    session_ms: int = SESSION_MS
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    produced: int = 0
    lane: dict[str, Any] = field(default_factory=dict)

    @property
    def clients(self) -> Clients:
        return Clients(self.kafka)

    def data_dir(self, name: str) -> Path:
        return self.folder / name

    def start_worker(
        self, name: str = "a", fault: dict[str, Any] | None = None, counts: bool = True
    ) -> subprocess.Popen[bytes]:
        """Start a worker process with its own folder, and optionally a fault, or without counting."""
        config = {
            "bootstrap": self.kafka.bootstrap,
            "kind": self.kafka.kind,
            "prefix": self.prefix,
            "partitions": self.topics.listens.partitions,
            "data_dir": str(self.data_dir(name)),
            "session_timeout_ms": self.session_ms,
            "guarantee": self.guarantee,
            "fault": fault,
            "lane": self.lane,
            "counts": counts,
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, str(WORKER), json.dumps(config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        self.workers.append(worker)
        return worker

    def produce(self, records: list[tuple[bytes, bytes | None]], stop: threading.Event | None = None) -> None:
        """Publish records in order, a hundred at a time; with `stop` slowly, until it is set."""

        async def run() -> None:
            producer = self.clients.async_producer(max_batch_bytes=65_536)
            await producer.start()
            try:
                for first in range(0, len(records), 100):
                    sent = [
                        await producer.send(self.topics.listens.name, value, key=key)
                        for key, value in records[first : first + 100]
                    ]
                    await asyncio.gather(*sent)
                    self.produced += len(sent)
                    if stop is not None and stop.is_set():
                        return
                    await asyncio.sleep(0.0 if stop is None else 0.1)
            finally:
                await producer.stop()

        asyncio.run(run())

    def produce_empty(self, partition: int) -> None:
        """Publish a record with neither key nor value, which only a batch can contain."""

        async def run() -> None:
            producer = self.clients.async_producer()
            await producer.start()
            batch = producer.create_batch()
            batch.append(key=None, value=None, timestamp=None)
            await (await producer.send_batch(batch, self.topics.listens.name, partition=partition))
            await producer.stop()

        asyncio.run(run())
        self.produced += 1

    @contextlib.contextmanager
    def listening(self, seed: int) -> Iterator[None]:
        """Publish listens in a separate thread for the duration of the block."""
        stop = threading.Event()
        thread = threading.Thread(target=self.produce, args=(make_listens(100_000, users=40, seed=seed), stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def wait_progress(self, listens: int, what: str) -> None:
        """Wait until that many more listens are committed."""
        before = self.committed()
        wait_until(lambda: self.committed_unharmed() >= before + listens, 40, what)

    def committed(self, topic: str | None = None) -> int:
        """Sum of the group's committed offsets, of the listens if no other topic is named."""
        consumer = self.clients.consumer(group_id=self.prefix + "lane")
        try:
            return sum(consumer.committed(tp) or 0 for tp in self._partitions(topic or self.topics.listens.name))
        finally:
            consumer.close()

    def committed_unharmed(self) -> int:
        """The same, provided that no worker has ended."""
        assert all(worker.poll() in (None, 0, -9) for worker in self.workers), self.logs()
        return self.committed()

    def wait_drained(self) -> None:
        """Wait until every listen is folded and committed."""
        wait_until(lambda: self.committed_unharmed() == self.produced, 60, "all listens committed")

    def log(self, name: str) -> str:
        """The whole output of a worker."""
        return (self.folder / f"{name}.log").read_text()

    def logs(self) -> str:
        """The end of every worker's log."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-4_000:]}" for path in self.folder.glob("*.log"))

    def read_all(self, topic: str) -> list[Any]:
        """All records of a topic, partition by partition, in offset order."""
        consumer = self.clients.consumer()
        try:
            tps = self._partitions(topic)
            consumer.assign(tps)
            consumer.seek_to_beginning(*tps)
            ends = consumer.end_offsets(tps)
            records: list[Any] = []

            def complete() -> bool:
                # As much as is there: a pause after each poll would take longer than the reading.
                while batches := consumer.poll(timeout_ms=100, max_records=5_000):
                    for batch in batches.values():
                        records.extend(batch)
                return all(consumer.position(tp) >= ends[tp] for tp in tps)

            wait_until(complete, 40, f"all of {topic}")
            return sorted(records, key=lambda record: (record.partition, record.offset))
        finally:
            consumer.close()

    def expected(self) -> tuple[dict[bytes, bytes], list[Any]]:
        """The pure fold of the source topic: states by user key, blocks by theirs, and the bad records."""
        listens: dict[bytes, list[Any]] = {}
        bad: list[Any] = []
        for record in self.read_all(self.topics.listens.name):
            try:
                listen = decode_listen(record.key, record.value, record.timestamp)
            except BadRecord as error:
                bad.append((record, error))
            else:
                listens.setdefault(record.key, []).append((record.offset, listen))
        states: dict[bytes, bytes] = {}
        for key, records in listens.items():
            result = fold(None, records, static_lookup, LANE.history_events)
            states[key] = result.state
            states.update((block_key(key, slot), block) for slot, block in result.blocks.items())
        return states, bad

    def changelog(self) -> dict[bytes, bytes]:
        """The changelog, last write wins."""
        records = self.read_all(self.topics.user_state_changelog.name)
        return {record.key: record.value for record in records if not is_reserved(record.key)}

    def table(self, name: str = "a") -> dict[bytes, bytes]:
        """The local tables of a stopped worker."""
        tables = user_table(self.data_dir(name), self.topics)
        try:
            opened = tables.open(range(self.topics.listens.partitions))
            found = {key: value for table in opened.values() for key, value in table.scan(b"") if not is_reserved(key)}
            found.pop(META_KEY, None)
            return found
        finally:
            tables.close()

    def replays(self) -> list[str]:
        """The workers' log lines about listens that they folded again."""
        return [x for path in self.folder.glob("*.log") for x in path.read_text().splitlines() if "replayed" in x]

    def dead_letters(self) -> list[tuple[int, int]]:
        """Source partition and offset of every dead letter."""
        headers = [dict(record.headers) for record in self.read_all(self.topics.listens.name + ".dlq")]
        return sorted((int(h[PARTITION_HEADER]), int(h[OFFSET_HEADER])) for h in headers)

    def assert_exactly_once(self, *names: str) -> None:
        """Tables, changelog and the pure fold are the same bytes, nothing was replayed, no dead letter is duplicated.

        Args:
            *names: Stopped workers that together hold all partitions, or each of them alone.
        """
        states, bad = self.expected()
        assert any(split_block_key(key) for key in states), "no ring overflowed: nothing was seen of blocks"
        assert self.changelog() == states
        for name in names:
            assert self.table(name) == states
        assert self.dead_letters() == sorted((record.partition, record.offset) for record, _ in bad)
        assert not self.replays()

    def counted(self) -> dict[int, float]:
        """Decayed listens by item, computed from the definition one listen at a time."""
        one, parts = np.array([1]), []
        for record in self.read_all(self.topics.listens.name):
            try:
                listen = decode_listen(record.key, record.value, record.timestamp)
            except BadRecord:
                continue
            key = np.array([item_key(listen.item_id)], np.uint64)
            parts.append(Counts.from_step(listen.at // POPULARITY.decay.step_ms, key, one))
        return weights_of(merge_counts(parts))

    def published_counts(self) -> dict[int, float]:
        """The same in the topic, last write wins."""
        values = {record.key: record.value for record in self.read_all(self.topics.item_count_totals.name)}
        return weights_of(merge_counts([read_part(value).counts for value in values.values()]))

    def wait_counted(self) -> None:
        """Wait until all listens are counted and published."""
        expected = self.counted()
        assert len(expected) > 400
        wait_until(lambda: self.published_counts() == expected, 30, "published counts equal those of the log")

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill a worker, as a crash would."""
        worker.kill()
        worker.wait(10)

    def stop(self, worker: subprocess.Popen[bytes]) -> int:
        """Stop a worker."""
        worker.terminate()
        return worker.wait(20)

    def close(self) -> None:
        """Kill all processes."""
        for worker in self.workers:
            if worker.poll() is None:
                self.kill(worker)

    def _partitions(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(self.topics.listens.partitions)]


def open_rig(kafka: RunningBroker, make_topics: Callable[..., Topics], folder: Path, **options: Any) -> Iterator[Rig]:
    """Yield a separate installation with four partitions, and close it afterwards; for fixtures."""
    topics = make_topics(user_partitions=4)
    rig = Rig(kafka.kafka, topics, topics.listens.name.removesuffix("listen-events.v1"), folder, **options)
    yield rig
    rig.close()
