"""One cell: topics, group and workers of its own, while listens flow; many cells live on one Kafka at the same time."""

import asyncio
import shutil
import signal
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.kafka.clients import Clients
from tests.bench.matrix.forks import Forks, Worker
from tests.bench.matrix.judge import Judge, read_tables
from tests.bench.matrix.load import NUM_KNOWN_ITEMS, Load, item
from tests.bench.matrix.tally import Tally
from tests.bench.support.rig import Rig

PARTITIONS = 4
POLL_S = 0.05
PUBLISH_S = 0.5
# A machine that does other work, too, may be slow: this ends what hangs, and judges nothing.
PATIENCE_S = 90.0
# So many deaths after it was made, an old copy of a database is replaced by a newer one.
COPY_AGE = 2


class StepError(Exception):
    """A worker did not do what it had to within its time."""


@dataclass(frozen=True)
class CellOptions:
    """What all cells of a run have in common."""

    session_ms: int = 2_000
    guarantee: str = "exactly_once"
    listens_per_s: int = 200
    starts_per_s: int = 5
    erasures_per_s: int = 2
    broken: str | None = None

    @property
    def session_s(self) -> float:
        """The session timeout in seconds."""
        return self.session_ms / 1e3


class Cell:
    """Topics, workers and what is known of them.

    Args:
        name: Names it in logs and folders; new for every life of a cell.
        seed: Of its listens.
        rig: The broker.
        forks: Starts workers.
        options: Of the run.
        tally: Told everything.
    """

    def __init__(self, name: str, seed: str, rig: Rig, forks: Forks, options: CellOptions, tally: Tally) -> None:
        self.name, self.rig, self.forks, self.options, self.tally = name, rig, forks, options, tally
        self.prefix = rig.name(f"{name}-")
        self.topics = build_topics(TopicSettings(prefix=self.prefix, user_partitions=PARTITIONS, item_partitions=2))
        self.folder = rig.folder / name
        self.folder.mkdir()
        self.clients: Clients = rig.clients
        self.judge = Judge(self.clients, self.topics)
        rates = options.listens_per_s, options.starts_per_s, options.erasures_per_s
        self.load = Load(self.clients, self.topics, seed, *rates)
        self.alive: dict[str, Worker] = {}
        self.where = name
        self.known_lost: set[str] = set()
        self.known_wrong_letters = 0
        self._ports: dict[str, int] = {}
        self._deaths = 0
        self._copied: dict[str, int] = {}
        self._log_sizes: dict[Path, int] = {}
        self._group: Any = None
        self.listens = [TopicPartition(self.topics.listens.name, number) for number in range(PARTITIONS)]
        self._erasures = [TopicPartition(self.topics.user_erasures.name, number) for number in range(PARTITIONS)]
        changes = self.topics.item_count_changes
        self._changes = [TopicPartition(changes.name, number) for number in range(changes.partitions)]

    async def open(self) -> None:
        """Make topics and a catalogue that stays as it is, and let the listens flow."""
        await asyncio.to_thread(self.rig.create, list(self.topics))
        producer = self.clients.async_producer()
        await producer.start()
        for number in range(NUM_KNOWN_ITEMS):
            key, value = item(number)
            await producer.send(self.topics.catalog_items.name, value, key=key)
        await producer.stop()
        self._group = self.clients.async_consumer(group_id=self.prefix + "app")
        await self._group.start()
        self._group.assign(self.listens + self._erasures + self._changes)
        await self.start("a")

        async def is_known() -> bool:
            return await self.judge.read_catalogue() == NUM_KNOWN_ITEMS

        await self.until(is_known, "the catalogue is tokenized")
        # On the topic is not yet in the worker's catalogue: listens folded before would keep no SID.
        await self.end("a", signal.SIGTERM)
        await self.start("a")
        self.load.go()
        await self.taken_over(time.monotonic())
        await self.end("a", signal.SIGTERM)

    async def close(self) -> None:
        """Leave nothing running."""
        await self.load.stop()
        for worker in self.alive.values():
            worker.send(signal.SIGKILL)
        if self._group is not None:
            await self._group.stop()

    async def start(self, name: str, fault: dict[str, Any] | None = None) -> Worker:
        """Start a worker with a folder of its own."""
        (self._ports[name],) = free_ports(1)
        flags = {
            "data_dir": str(self.folder / name),
            "kafka.bootstrap": self.rig.broker.bootstrap,
            "kafka.session_timeout_ms": self.options.session_ms,
            "kafka.heartbeat_interval_ms": max(100, self.options.session_ms // 6),
            "topics.prefix": self.prefix,
            "topics.user_partitions": PARTITIONS,
            "topics.item_partitions": 2,
            "worker.app_id": f"{self.prefix}app",
            "web.port": self._ports[name],
            "lane.guarantee": self.options.guarantee,
            "lane.batch_ms": 50,
            "lane.commit_interval_ms": 100,
            "lane.rebalance_timeout_ms": 10_000,
            # None may be lost, however long the workers are away, nor before the first one is ready.
            "session.max_age_ms": 0,
            "session.start": "beginning",
            # The log's own time is years ago: a sweep would take what refuses its late listens.
            "lane.erasure_keep_days": 36_500,
            "popularity.publish_s": PUBLISH_S,
        }
        config = {"flags": flags, "fault": fault, "broken": self.options.broken}
        worker = await self.forks.start(name, self.folder / f"{name}.log", config)
        self.alive[name] = worker
        return worker

    async def end(self, name: str, how: int) -> int:
        """End a worker by a signal, and wait until it is gone."""
        worker = self.alive.pop(name)
        worker.send(how)
        worker.send(signal.SIGCONT)
        return await self.wait_end(worker)

    async def wait_end(self, worker: Worker, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the end of a worker."""
        try:
            code = await asyncio.wait_for(asyncio.shield(worker.ended), timeout_s)
        except TimeoutError:
            raise StepError(f"{self.where}: {worker.name} did not end in {timeout_s} s\n{self.said(worker)}") from None
        self._died(worker.name)
        return code

    async def is_ready(self, name: str) -> bool:
        """Tell whether a worker has its partitions, and their states."""

        def ask() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[name]}/readyz", timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        return await asyncio.to_thread(ask)

    async def supervise(self) -> None:
        """Start again what ended by itself, as whoever runs workers does."""
        for name, worker in list(self.alive.items()):
            if not worker.is_alive:
                self.tally.note_self_ended(self.where, worker.ended.result(), self.said(worker))
                self._died(name)
                await self.start(name)

    def said(self, worker: Worker) -> str:
        """Give the end of a worker's log."""
        return worker.log.read_text(errors="replace")[-3_000:]

    def _died(self, name: str) -> None:
        self._deaths += 1
        tables = self.tables(name)
        if tables.exists() and self._deaths - self._copied.get(name, -COPY_AGE) >= COPY_AGE:
            # The newest copy may lack nothing yet: it is put back only after the next one was made.
            newest, copy = tables.with_name("new-copy"), tables.with_name("old-copy")
            if newest.exists():
                shutil.rmtree(copy, ignore_errors=True)
                newest.rename(copy)
            shutil.copytree(tables, newest)
            self._copied[name] = self._deaths

    def tables(self, name: str) -> Path:
        """Give the folder of a worker's databases."""
        return self.folder / name / "worker" / f"{self.prefix}app" / "user-state"

    def treat(self, name: str, how: str) -> None:
        """Do to the databases of a worker that is not running what the step asks for."""
        tables = self.tables(name)
        copy = tables.with_name("old-copy")
        if how == "stale" and not copy.exists():
            how = "lost"
        if how != "kept" and tables.exists():
            shutil.rmtree(tables)
        if how == "stale":
            shutil.copytree(copy, tables)
        self.tally.tables[how] += 1

    async def judge_tables(self, name: str) -> set[int]:
        """Compare the databases of a worker that has ended with the changelog; returns partitions that are current."""
        if not self.tables(name).exists():
            return set()
        await self.judge.read_changelog()
        current = set()
        for table in await asyncio.to_thread(lambda: list(read_tables(self.tables(name)))):
            self.tally.compared_tables += 1
            self.tally.compared_keys += len(table.entries)
            self.tally.note_wrong(self.where, self.judge.wrong_in_table(name, table))
            if self.judge.is_current(table):
                current.add(table.partition)
        return current

    def count_replays(self) -> None:
        """Count listens that workers said they folded again."""
        for path in self.folder.glob("*.log"):
            with path.open("rb") as log:
                log.seek(self._log_sizes.get(path, 0))
                new = log.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._log_sizes[path] = self._log_sizes.get(path, 0) + len(whole)
            lines = [line for line in whole.splitlines() if line.startswith(b"replayed ")]
            self.tally.replayed += sum(int(line.split()[1]) for line in lines)

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for a condition with a deadline, while workers that end by themselves are started again."""
        deadline_s = time.monotonic() + timeout_s
        while not await condition():
            if time.monotonic() > deadline_s:
                said = "\n".join(f"--- {name}\n{self.said(worker)}" for name, worker in self.alive.items())
                raise StepError(f"{self.where}: not within {timeout_s:g} s: {what}\n{said}")
            await self.supervise()
            await asyncio.sleep(POLL_S)

    async def ends(self) -> dict[TopicPartition, int]:
        """Give the ends of listens and erasures."""
        return dict(await self._group.end_offsets(self.listens + self._erasures))

    async def committed(self) -> dict[TopicPartition, int]:
        """Give the committed offsets of listens, erasures and changes of counts."""
        tps = self.listens + self._erasures + self._changes
        offsets = await asyncio.gather(*(self._group.committed(tp) for tp in tps))
        return {tp: offset or 0 for tp, offset in zip(tps, offsets, strict=True)}

    async def taken_over(self, since_s: float) -> float:
        """Wait until, in every partition, a listen is folded that came after this call; returns the seconds."""
        ends = await self.ends()

        async def is_past() -> bool:
            committed = await self.committed()
            return all(committed[tp] > ends[tp] for tp in self.listens)

        await self.until(is_past, "listens of all partitions are folded")
        return time.monotonic() - since_s
