"""The tokenizing side of generations: what the catalogue agent writes, and the catalogue written anew beside arrivals.

* From an assignment on the agent waits until this worker knows all orders and has loaded what is live: a partition
  that was written under a version never gets a value without it.
* A worker that cannot load the version that serves writes nothing. One that cannot load another version goes on
  without it, refuses in its report, and takes back the word that its partitions hold it.
* Writing anew takes the agent's own way, in its turn and never over a newer value; the last value of a key in the
  topic is always that of its last event.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
from aiokafka.errors import KafkaError
from mode import Service

from sidestream.streams.contracts.decode import Limits, decode_catalog_item
from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BrokerError, SidestreamError, TopicError
from sidestream.streams.generations.control import ControlReader
from sidestream.streams.generations.orders import Plan
from sidestream.streams.generations.reports import Reporter, Standing
from sidestream.streams.generations.scan import CatalogueScan
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.generations.shelf import Shelf
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.pace import Pace
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.agent import CatalogAgent
from sidestream.streams.tokenizing.events import Source
from sidestream.streams.tokenizing.values import ItemEncoder
from sidestream.streams.tokenizing.versions import LiveVersions

_log = get_log(__name__)


class Retokenizer(Service):
    """Keeps the values of this worker's catalogue partitions as the orders say.

    Args:
        app: The Faust app, which says which partitions are ours.
        agent: The catalogue agent.
        clients: The Kafka.
        topics: All topics.
        limits: What catalogue records must keep.
        control: The orders.
        shelf: The pairs.
        reporter: Tells others.
        settings: Pace.
        metrics: Counts.
    """

    mundane_level = "debug"

    def __init__(
        self,
        app: faust.App,
        agent: CatalogAgent,
        clients: Clients,
        topics: Topics,
        limits: Limits,
        control: ControlReader,
        shelf: Shelf,
        reporter: Reporter,
        settings: GenerationSettings,
        metrics: Metrics,
    ) -> None:
        super().__init__()
        self._agent = agent
        self._clients = clients
        self._topics = topics
        self._limits = limits
        self._control = control
        self._shelf = shelf
        self._reporter = reporter
        self._settings = settings
        self._metrics = metrics
        self._news = control.news()
        self._versions: tuple[str, ...] = ()
        self._refused: dict[str, str] = {}
        self._held_up = ""
        self._users: list[Callable[[Sequence[ItemEncoder]], None]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generations")
        self._topic = topics.catalog_items.name
        agent.may_work.clear()
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)
        reporter.ask(self.standing)

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions that the agent tokenizes under now, the one that serves first; none before the first assignment."""
        return self._versions

    def adopted(self, use: Callable[[Sequence[ItemEncoder]], None]) -> None:
        """Have a part of the worker told which tokenizers are in use.

        Args:
            use: Called in a turn of the agent's.
        """
        self._users.append(use)

    def not_ready(self) -> list[str]:
        """Say why nothing is tokenized: the version that serves cannot be loaded."""
        return [self._held_up] if self._held_up else []

    def standing(self, version: str) -> Standing:
        """Tell how far this side is with a version.

        Args:
            version: Tokenizer version that is to serve.

        Returns:
            The standing.
        """
        if version in self._refused:
            return Standing("refused", detail=self._refused[version])
        return Standing("ready" if version in self._versions else "loading")

    async def on_stop(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _on_revoked(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self._agent.may_work.clear()

    async def _on_assigned(self, *args: Any, **kwargs: Any) -> None:
        del kwargs
        assigned = args[-1]
        partitions = sorted(place.partition for place in assigned if place.topic == self._topic)
        self.add_future(self._keep(self._agent.epoch, partitions))

    async def _keep(self, epoch: int, partitions: Sequence[int]) -> None:
        """Hold partitions to the orders until they are revoked."""
        knows_all = False
        while self._is_ours(epoch):
            self._news.clear()
            try:
                if not knows_all:
                    await self._control.catch_up()
                    knows_all = True
                if await self._step(epoch, partitions):
                    continue
            except (KafkaError, BrokerError, TopicError) as exc:
                _log.warning("catalogue cannot be read; tried again", error=str(exc))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._settings.retry_s)

    async def _step(self, epoch: int, partitions: Sequence[int]) -> bool:
        """Do the next thing; tell whether there was one."""
        if not await self._adopt(epoch, partitions):
            return False
        self._agent.may_work.set()
        unsettled = next((p for p in partitions if self._control.orders.unsettled(p, self._versions)), None)
        if unsettled is None:
            return False
        await self._write_anew(epoch, unsettled)
        return True

    def _is_ours(self, epoch: int) -> bool:
        return epoch == self._agent.epoch and not self.should_stop

    def _plan(self) -> Plan:
        return self._control.orders.plan(self._shelf.home_version)

    async def _adopt(self, epoch: int, partitions: Sequence[int]) -> bool:
        """Make the agent write what is live; tell whether it can."""
        plan = self._plan()
        encoders = [found for version in plan.live if (found := await self._load(version)) is not None]
        versions = tuple(encoder.version for encoder in encoders)
        if not self._is_ours(epoch):
            return False
        if plan.active not in versions:
            self._held_up = f"generations: nothing is tokenized: {self._refused[plan.active]}"
            self._agent.may_work.clear()
            return False
        self._held_up = ""
        if versions != self._versions or not self._agent.may_work.is_set():
            await self._take_back(partitions, versions)
            async with self._agent.turn:
                self._agent.maker.tokenize = LiveVersions(encoders, self._left_out, self._agent.settings)
                for use in self._users:
                    use(encoders)
                self._versions = versions
            _log.info("tokenizing", versions=versions)
        for generation in self._control.orders.generations:
            if generation.phase == "retired":
                self._shelf.drop(generation.version)
        return True

    async def _load(self, version: str) -> Any:
        ordered = self._control.orders.find(version)
        try:
            pair = await self._shelf.pair(version, version if ordered is None else ordered.pair)
        except SidestreamError as exc:
            if self._refused.get(version) != str(exc):
                self._metrics.generation_refusals.labels("tokenizer").inc()
                _log.error("generation refused", version=version, reason=str(exc))
            self._refused[version] = str(exc)
            return None
        self._refused.pop(version, None)
        return pair.tokenizer

    async def _take_back(self, partitions: Sequence[int], versions: tuple[str, ...]) -> None:
        """Take back what is about to stop being true, before it does."""
        orders = self._control.orders
        for version, wanted in orders.wanted(versions).items():
            for partition in partitions:
                if orders.partition_state(version, partition) not in (None, wanted):
                    await self._reporter.partition_is(version, partition, None)

    async def _write_anew(self, epoch: int, partition: int) -> None:
        versions, live, settings = self._versions, set(self._plan().live), self._settings

        def goes_on() -> bool:
            return self._is_ours(epoch) and set(self._plan().live) == live

        begun_s, count = time.monotonic(), 0
        _log.info("catalogue is written anew", partition=partition, versions=versions)
        # Watched before the end of the log is asked for: what comes later is noted or among the last records.
        self._agent.watch(partition)
        pace = Pace(settings.rewrite_batch, settings.rewrite_rest)
        scan = CatalogueScan(self._clients, self._topic, partition, self._limits, pace, goes_on, self._thread)
        try:
            async with contextlib.aclosing(scan.items()) as batches:
                async for sources in batches:
                    latest = await self._agent.rewrite(epoch, sources, self._made)
                    if latest is None:
                        return
                    count += latest
                    self._metrics.rewritten_items.labels("newer").inc(len(sources) - latest)
        finally:
            if epoch == self._agent.epoch:
                self._agent.unwatch()
        if goes_on():
            await self._settle(partition, versions)
            took_s = round(time.monotonic() - begun_s, 1)
            _log.info("catalogue was written anew", partition=partition, items=count, took_s=took_s)

    async def _settle(self, partition: int, versions: tuple[str, ...]) -> None:
        """Tell what the values of a partition have come to, and wait until we hear it ourselves."""
        orders = self._control.orders
        for version, progress in orders.wanted(versions).items():
            if progress is not None and orders.partition_state(version, partition) != progress:
                await self._reporter.partition_is(version, partition, progress)
        await self._control.catch_up()

    def _made(self, sources: Sequence[Source]) -> list[Outgoing | None]:
        """Make records of events that were read before; runs in the tokenizer's thread."""
        decoded = [decode_catalog_item(s.key, s.value, s.timestamp, self._limits) for s in sources]
        found = [(source, item) for source, item in zip(sources, decoded, strict=True) if item is not None]
        try:
            values = self._agent.maker.tokenize([item for _, item in found], [source.offset for source, _ in found])
        except (SidestreamError, ValueError, ArithmeticError):
            if len(sources) > 1:
                return [made for source in sources for made in self._made([source])]
            # A dead letter since it came.
            self._metrics.rewritten_items.labels("unreadable").inc()
            return [None]
        self._metrics.rewritten_items.labels("rewritten").inc(len(values))
        topic = self._topics.item_sids.name
        of_offset = {value.source_offset: value.to_json() for value in values}
        return [
            None if item is None else (topic, source.key, of_offset[source.offset], [])
            for source, item in zip(sources, decoded, strict=True)
        ]

    def _left_out(self, version: str, item_id: str) -> None:
        self._metrics.rewritten_items.labels("left_out").inc()
        _log.warning("no SID under a version that is live", version=version, item_id=item_id)
