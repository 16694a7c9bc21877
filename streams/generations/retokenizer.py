"""The tokenizing side of generations: sets the agent's tokenizers, and rewrites the catalogue alongside new arrivals.

* After an assignment the agent waits until this worker knows all orders and has loaded all live versions: a partition
  that was written under a version never gets a value without it.
* A worker that cannot load the version that serves writes nothing. A worker that cannot load another version continues
  without it, reports the refusal, and withdraws its reports that its partitions hold it.
* Rewritten values are published by the agent, under its write lock and never over a newer value; the last value of a
  key in the topic is always the one of its last event.
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
from sidestream.streams.generations.orders import GenerationPlan
from sidestream.streams.generations.pair_loader import PairLoader
from sidestream.streams.generations.reports import Reporter, WorkerReport
from sidestream.streams.generations.scan import CatalogueScan
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.pace import Pace
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.agent import CatalogAgent
from sidestream.streams.tokenizing.records import ConsumedRecord
from sidestream.streams.tokenizing.values import ItemEncoder, MultiVersionTokenizer

_log = get_log(__name__)


class Retokenizer(Service):
    """Keeps the values of this worker's catalogue partitions in line with the orders.

    Args:
        app: The Faust app; it signals which partitions are assigned.
        agent: The catalogue agent.
        clients: Kafka clients.
        topics: All topics.
        limits: Bounds that catalogue records must keep.
        control: The orders.
        pair_loader: Loads the pairs.
        reporter: Publishes this worker's progress.
        settings: Batch sizes and rests.
        metrics: Counts rewritten items and refusals.
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
        pair_loader: PairLoader,
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
        self._pair_loader = pair_loader
        self._reporter = reporter
        self._settings = settings
        self._metrics = metrics
        self._changed = control.change_event()
        self._versions: tuple[str, ...] = ()
        self._refused: dict[str, str] = {}
        self._blocked_by = ""
        self._callbacks: list[Callable[[Sequence[ItemEncoder]], None]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generations")
        self._topic = topics.catalog_items.name
        agent.may_work.clear()
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)
        reporter.add_part(self.report)

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions that the agent tokenizes under, the one that serves first; empty before the first assignment."""
        return self._versions

    def on_tokenizers_changed(self, callback: Callable[[Sequence[ItemEncoder]], None]) -> None:
        """Call back when the tokenizers change.

        Args:
            callback: Gets the tokenizers, the one that serves first. Called under the agent's write lock.
        """
        self._callbacks.append(callback)

    def not_ready(self) -> list[str]:
        """Return why nothing is tokenized, if the version that serves cannot be loaded."""
        return [self._blocked_by] if self._blocked_by else []

    def report(self, version: str) -> WorkerReport:
        """Return the progress of this side with the tokenizer version that is to serve."""
        if version in self._refused:
            return WorkerReport("refused", detail=self._refused[version])
        return WorkerReport("ready" if version in self._versions else "loading")

    async def on_stop(self) -> None:
        """Shut the thread down."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _on_revoked(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self._agent.may_work.clear()

    async def _on_assigned(self, *args: Any, **kwargs: Any) -> None:
        del kwargs
        assigned = args[-1]
        partitions = sorted(place.partition for place in assigned if place.topic == self._topic)
        self.add_future(self._follow_orders(self._agent.epoch, partitions))

    async def _follow_orders(self, epoch: int, partitions: Sequence[int]) -> None:
        """Keep assigned partitions in line with the orders until they are revoked."""
        knows_all = False
        while self._is_current(epoch):
            self._changed.clear()
            try:
                if not knows_all:
                    await self._control.catch_up()
                    knows_all = True
                if await self._step(epoch, partitions):
                    continue
            except (KafkaError, BrokerError, TopicError) as exc:
                _log.warning("catalogue cannot be read; will retry", error=str(exc))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._settings.retry_s)

    async def _step(self, epoch: int, partitions: Sequence[int]) -> bool:
        """Load the live versions and rewrite at most one partition; return whether one was rewritten."""
        if not await self._set_tokenizers(epoch, partitions):
            return False
        self._agent.may_work.set()
        unsettled = next((p for p in partitions if self._control.orders.unsettled(p, self._versions)), None)
        if unsettled is None:
            return False
        await self._rewrite(epoch, unsettled)
        return True

    def _is_current(self, epoch: int) -> bool:
        return epoch == self._agent.epoch and not self.should_stop

    def _plan(self) -> GenerationPlan:
        return self._control.orders.plan(self._pair_loader.own_version)

    async def _set_tokenizers(self, epoch: int, partitions: Sequence[int]) -> bool:
        """Make the agent tokenize under all live versions; return whether it may work."""
        plan = self._plan()
        encoders = [found for version in plan.live if (found := await self._load(version)) is not None]
        versions = tuple(encoder.version for encoder in encoders)
        if not self._is_current(epoch):
            return False
        if plan.active not in versions:
            self._blocked_by = f"generations: nothing is tokenized: {self._refused[plan.active]}"
            self._agent.may_work.clear()
            return False
        self._blocked_by = ""
        if versions != self._versions or not self._agent.may_work.is_set():
            await self._withdraw_reports(partitions, versions)
            async with self._agent.write_lock:
                tokenize = MultiVersionTokenizer(encoders, self._on_skipped, self._agent.settings)
                self._agent.record_maker.tokenize = tokenize
                for callback in self._callbacks:
                    callback(encoders)
                self._versions = versions
            _log.info("tokenizer versions in use", versions=versions)
        for generation in self._control.orders.generations:
            if generation.phase == "retired":
                self._pair_loader.drop(generation.version)
        return True

    async def _load(self, version: str) -> Any:
        ordered = self._control.orders.find(version)
        try:
            pair = await self._pair_loader.load(version, version if ordered is None else ordered.pair)
        except SidestreamError as exc:
            if self._refused.get(version) != str(exc):
                self._metrics.generation_refusals.labels("tokenizer").inc()
                _log.error("generation refused", version=version, reason=str(exc))
            self._refused[version] = str(exc)
            return None
        self._refused.pop(version, None)
        return pair.tokenizer

    async def _withdraw_reports(self, partitions: Sequence[int], versions: tuple[str, ...]) -> None:
        """Withdraw the reports that are about to become untrue, before they do."""
        orders = self._control.orders
        for version, wanted in orders.wanted(versions).items():
            for partition in partitions:
                if orders.partition_state(version, partition) not in (None, wanted):
                    await self._reporter.report_partition(version, partition, None)

    async def _rewrite(self, epoch: int, partition: int) -> None:
        versions, live, settings = self._versions, set(self._plan().live), self._settings

        def is_wanted() -> bool:
            return self._is_current(epoch) and set(self._plan().live) == live

        begun_s, count = time.monotonic(), 0
        _log.info("rewriting the catalogue", partition=partition, versions=versions)
        # Watched before the end offset is requested: a later record is either recorded or among the last ones.
        self._agent.watch(partition)
        pace = Pace(settings.rewrite_batch, settings.rewrite_rest)
        scan = CatalogueScan(self._clients, self._topic, partition, self._limits, pace, is_wanted, self._thread)
        try:
            async with contextlib.aclosing(scan.items()) as batches:
                async for records in batches:
                    latest = await self._agent.rewrite(epoch, records, self._make_records)
                    if latest is None:
                        return
                    count += latest
                    self._metrics.rewritten_items.labels("newer").inc(len(records) - latest)
        finally:
            if epoch == self._agent.epoch:
                self._agent.unwatch()
        if is_wanted():
            await self._report_partition(partition, versions)
            took_s = round(time.monotonic() - begun_s, 1)
            _log.info("catalogue rewritten", partition=partition, items=count, took_s=took_s)

    async def _report_partition(self, partition: int, versions: tuple[str, ...]) -> None:
        """Report which versions the values of a partition contain, and wait until the reports are read back."""
        orders = self._control.orders
        for version, progress in orders.wanted(versions).items():
            if progress is not None and orders.partition_state(version, partition) != progress:
                await self._reporter.report_partition(version, partition, progress)
        await self._control.catch_up()

    def _make_records(self, consumed: Sequence[ConsumedRecord]) -> list[Outgoing | None]:
        """Make the values of earlier catalogue records; runs in the tokenizer's thread."""
        decoded = [decode_catalog_item(r.key, r.value, r.timestamp, self._limits) for r in consumed]
        found = [(record, item) for record, item in zip(consumed, decoded, strict=True) if item is not None]
        tokenize = self._agent.record_maker.tokenize
        try:
            values = tokenize([item for _, item in found], [record.offset for record, _ in found])
        except (SidestreamError, ValueError, ArithmeticError):
            if len(consumed) > 1:
                return [made for record in consumed for made in self._make_records([record])]
            # Already in the dead letters.
            self._metrics.rewritten_items.labels("unreadable").inc()
            return [None]
        self._metrics.rewritten_items.labels("rewritten").inc(len(values))
        topic = self._topics.item_sids.name
        of_offset = {value.source_offset: value.to_json() for value in values}
        return [
            None if item is None else (topic, record.key, of_offset[record.offset], [])
            for record, item in zip(consumed, decoded, strict=True)
        ]

    def _on_skipped(self, version: str, item_id: str) -> None:
        self._metrics.rewritten_items.labels("left_out").inc()
        _log.warning("item has no SID under a live version", version=version, item_id=item_id)
