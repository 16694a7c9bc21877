"""One cell: topics, group and workers of its own, while listens flow; many cells live on one Kafka at the same time."""

import asyncio
import shutil
import signal
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.kafka.clients import Clients
from tests.bench.matrix import releases
from tests.bench.matrix.databases import Databases
from tests.bench.matrix.forks import Forks, Worker
from tests.bench.matrix.judging.judge import Judge
from tests.bench.matrix.judging.tables import read_tables
from tests.bench.matrix.load import Load
from tests.bench.matrix.offsets import GroupOffsets
from tests.bench.matrix.options import CellOptions, StepError
from tests.bench.matrix.tally import Tally
from tests.bench.support.rig import Rig
from tests.integration.rigs.three_brokers import ThreeBrokers

PARTITIONS = 4
ITEM_PARTITIONS = 2
POLL_S = 0.05
# A machine that does other work, too, may be slow: this ends what hangs, and judges nothing.
PATIENCE_S = 120.0
NAMES = ("a", "b")


@dataclass(frozen=True)
class Place:
    """What the cells of a run share.

    Attributes:
        rig: Kafka.
        forks: Starts workers of this release.
        before: Starts workers of the release before; none where there is none.
        brokers: The three brokers, where they may be restarted.
    """

    rig: Rig
    forks: Forks
    before: Forks | None = None
    brokers: ThreeBrokers | None = None


class Cell:
    """Topics, workers and what is known of them.

    Args:
        name: Names it in logs and folders; new for every life of a cell.
        seed: Of its listens.
        place: What it shares with other cells.
        options: Its set-up.
        tally: Told everything.
    """

    def __init__(self, name: str, seed: str, place: Place, options: CellOptions, tally: Tally) -> None:
        self.name, self.place, self.options, self.tally = name, place, options, tally
        self.rig = place.rig
        self.prefix = self.rig.name(f"{name}-")
        self.topics = build_topics(
            TopicSettings(prefix=self.prefix, user_partitions=PARTITIONS, item_partitions=ITEM_PARTITIONS)
        )
        self.folder = self.rig.folder / name
        self.folder.mkdir()
        self.clients: Clients = self.rig.clients
        self.judge = Judge(self.clients, self.topics)
        self.load = Load(self.clients, self.topics, seed, options.rates, options.codec)
        self.alive: dict[str, Worker] = {}
        self.where = name
        self.known_lost: set[str] = set()
        self.known_wrong_letters = 0
        # Workers of the release before, by name; all others are of this one.
        self.old: set[str] = set()
        self.num_self_ended = 0
        self._ports: dict[str, int] = {}
        self._deaths = 0
        self._databases: dict[str, Databases] = {}
        self._log_sizes: dict[Path, int] = {}
        self.offsets = GroupOffsets(self.clients, self.group_id)
        self.listens = [TopicPartition(self.topics.listens.name, number) for number in range(PARTITIONS)]
        self._erasures = [TopicPartition(self.topics.user_erasures.name, number) for number in range(PARTITIONS)]
        changes = self.topics.item_count_changes
        self._changes = [TopicPartition(changes.name, number) for number in range(changes.partitions)]

    @property
    def group_id(self) -> str:
        """Consumer group of the workers."""
        return self.prefix + "app"

    async def create_topics(self) -> None:
        """Make the topics that are missing, as the workers' release does."""
        before = self.place.before
        if self.old and before is not None and before.sources is not None:
            bootstrap = self.rig.broker.bootstrap
            await asyncio.to_thread(
                releases.create_topics, before.sources, bootstrap, self.prefix, PARTITIONS, ITEM_PARTITIONS
            )
        else:
            await asyncio.to_thread(self.rig.create_missing, list(self.topics))

    async def open(self, name: str = "a") -> None:
        """Make topics and a catalogue, and let the listens flow; a worker is there meanwhile."""
        await self.create_topics()
        await self.load.make_catalogue()
        wanted = await self.judge.read_wanted_items()
        await self.start(name)

        async def is_known() -> bool:
            return len(await self.judge.read_catalogue()) == len(wanted)

        await self.until(is_known, "the catalogue is tokenized")
        # On the topic is not yet in the worker's catalogue: listens folded before would keep no SID.
        await self.end(name, signal.SIGTERM)
        await self.start(name)
        self.load.go()
        await self.taken_over(time.monotonic())
        await self.end(name, signal.SIGTERM)

    async def close(self) -> None:
        """Leave nothing running."""
        await self.load.stop()
        for worker in self.alive.values():
            worker.send(signal.SIGKILL)
        await self.offsets.close()

    def flags(self, name: str) -> dict[str, Any]:
        """Give all settings of a worker."""
        flags = {
            "data_dir": str(self.folder / name),
            "kafka.bootstrap": self.rig.broker.bootstrap,
            "topics.prefix": self.prefix,
            "topics.user_partitions": PARTITIONS,
            "topics.item_partitions": ITEM_PARTITIONS,
            "worker.app_id": self.group_id,
            "web.port": self._ports[name],
            # The log's own time is years ago: a sweep would take what refuses its late listens.
            "lane.erasure_keep_days": 36_500,
            **self.options.flags,
        }
        if name not in self.old:
            # None may be lost, however long the workers are away, nor before the first one is ready.
            flags |= {"session.max_age_ms": 0, "session.start": "beginning"}
            flags["lane.standby_replicas"] = int(self.options.standbys)
        return flags

    async def start(self, name: str, fault: Mapping[str, Any] | None = None) -> Worker:
        """Start a worker with a folder of its own."""
        (self._ports[name],) = free_ports(1)
        config = {"flags": self.flags(name), "fault": fault, "broken": self.options.broken}
        forks = self.place.forks
        if name in self.old:
            if self.place.before is None:
                raise StepError(f"{self.where}: there is no release before")
            forks = self.place.before
        worker = await forks.start(name, self.folder / f"{name}.log", config)
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

    async def joined(self, name: str) -> None:
        """Wait until a worker is ready."""

        async def is_ready() -> bool:
            return await self.is_ready(name)

        await self.until(is_ready, f"{name} has joined")

    async def supervise(self) -> None:
        """Start again what ended by itself, as whoever runs workers does."""
        for name, worker in list(self.alive.items()):
            if not worker.is_alive:
                self.note_self_ended(worker)
                self._died(name)
                await self.start(name)

    def note_self_ended(self, worker: Worker) -> None:
        """Note that a worker ended, which nobody had told it to."""
        self.num_self_ended += 1
        self.tally.note_self_ended(self.where, worker.ended.result(), self.said(worker))

    def said(self, worker: Worker) -> str:
        """Give the end of a worker's log."""
        return worker.log.read_text(errors="replace")[-3_000:]

    def _died(self, name: str) -> None:
        self._deaths += 1
        self.databases(name).copy(self._deaths)

    def databases(self, name: str) -> Databases:
        """Give the databases of a worker."""
        if name not in self._databases:
            self._databases[name] = Databases(self.folder / name / "worker" / self.group_id / "user-state")
        return self._databases[name]

    def treat(self, name: str, how: str) -> None:
        """Do to the databases of a worker that is not running what the step asks for."""
        self.tally.tables[self.databases(name).treat(how)] += 1

    async def judge_tables(self, name: str) -> set[int]:
        """Compare the databases of a worker that has ended with the changelog; returns partitions that are current."""
        folder = self.databases(name).folder
        if not folder.exists():
            return set()
        tables = await asyncio.to_thread(lambda: list(read_tables(folder)))
        await self.judge.read_changelog({table.partition: table.changelog_offset + 1 for table in tables})
        current = set()
        for table in tables:
            self.tally.compared_tables += 1
            self.tally.compared_keys += len(table.entries)
            self.tally.note_wrong(self.where, self.judge.wrong_in_table(name, table))
            if self.judge.is_current(table):
                current.add(table.partition)
        return current

    def keep_logs(self, folder: Path) -> Path:
        """Copy the logs of the workers to where they outlive the run; returns the place."""
        kept = folder / self.prefix
        kept.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob("*.log"):
            shutil.copy(path, kept)
        return kept

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

    async def until(
        self,
        condition: Callable[[], Awaitable[bool]],
        what: str,
        timeout_s: float = PATIENCE_S,
        missing: Callable[[], object] | None = None,
    ) -> None:
        """Wait for a condition with a deadline, while workers that end by themselves are started again.

        Args:
            condition: Asked again and again.
            what: Says in an error what was waited for.
            timeout_s: The deadline.
            missing: Says in an error what was missing.
        """
        deadline_s = time.monotonic() + timeout_s
        while not await condition():
            if time.monotonic() > deadline_s:
                said = "\n".join(f"--- {name}\n{self.said(worker)}" for name, worker in self.alive.items())
                lacks = "" if missing is None else f" (missing: {missing()})"
                raise StepError(f"{self.where}: not within {timeout_s:g} s: {what}{lacks}\n{said}")
            await self.supervise()
            await asyncio.sleep(POLL_S)

    async def ends(self) -> dict[TopicPartition, int]:
        """Give the ends of listens and erasures."""
        return await self.offsets.ends([*self.listens, *self._erasures])

    async def committed(self) -> dict[TopicPartition, int]:
        """Give the committed offsets of listens, erasures and changes of counts."""
        return await self.offsets.committed([*self.listens, *self._erasures, *self._changes])

    async def taken_over(self, since_s: float) -> float:
        """Wait until, in every partition, a listen is folded that came after this call; returns the seconds."""
        ends = await self.ends()
        behind: dict[TopicPartition, tuple[int, int, int]] = {}

        async def is_past() -> bool:
            committed, now = await self.committed(), await self.ends()
            behind.clear()
            behind.update({tp: (committed[tp], ends[tp], now[tp]) for tp in self.listens if committed[tp] <= ends[tp]})
            return not behind

        def missing() -> str:
            told = [
                f"{tp.partition}: committed {c}, end {then} then, {now} now" for tp, (c, then, now) in behind.items()
            ]
            return "; ".join(told)

        await self.until(is_past, "listens of all partitions are folded", missing=missing)
        return time.monotonic() - since_s
