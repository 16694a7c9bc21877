"""The answering side of generations: every live pair with its catalogue, and the one that serves now.

A generation is a pair, a model that answers, and a reader of `item-sids.v1` with its own catalogue. The serving one is
a single reference; each request reads it once, so no answer ever mixes two. Another generation starts to serve when
that is ordered and it has all items that the current one serves; until then, and if it cannot be loaded, the current
one continues to serve.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from mode import Service

from sidestream.models.records import SessionStart
from sidestream.models.records.times import EARLIEST_EVENT_AT
from sidestream.streams.errors import BrokerError, SidestreamError, TopicError
from sidestream.streams.generations.control import ControlReader
from sidestream.streams.generations.loaded import Comparison, LoadedGeneration
from sidestream.streams.generations.orders import GenerationPlan
from sidestream.streams.generations.paced import missing_keys, run_at_full_speed, throttle
from sidestream.streams.generations.pair import Pair
from sidestream.streams.generations.pair_loader import PairLoader
from sidestream.streams.generations.reports import Reporter, WorkerReport
from sidestream.streams.generations.retired_catalogues import RetiredCatalogues
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.progress import IDLE, Work
from sidestream.streams.sessions.answerer import Pinned
from sidestream.streams.tokenizing.values import ItemEncoder
from sidestream.tokenizer.catalogue import CatalogueSnapshot, StoredSid

_log = get_log(__name__)

# How often the next generation is compared with the current one.
_COMPARE_S = 0.5


class Serving(Service):
    """Holds the live generations and the one that serves.

    Args:
        own: The generation of the worker's own pair, not started.
        make: Builds a generation from a loaded pair.
        control: The orders.
        pair_loader: Loads the pairs.
        reporter: Publishes this worker's progress.
        settings: Pace of filling catalogues.
        metrics: Shows the version that serves.
        clock_ms: UTC epoch milliseconds, for the warm-up answer of a generation.
        retired_catalogues: Removes the saved catalogues of retired versions.
    """

    mundane_level = "debug"

    def __init__(
        self,
        own: LoadedGeneration,
        make: Callable[[Pair], LoadedGeneration],
        control: ControlReader,
        pair_loader: PairLoader,
        reporter: Reporter,
        settings: GenerationSettings,
        metrics: Metrics,
        clock_ms: Callable[[], int],
        retired_catalogues: RetiredCatalogues,
    ) -> None:
        super().__init__()
        self._current = own
        self._loaded: dict[str, LoadedGeneration] = {}
        self._make = make
        self._control = control
        self._pair_loader = pair_loader
        self._settings = settings
        self._metrics = metrics
        self._clock_ms = clock_ms
        self._retired_catalogues = retired_catalogues
        self._changed = control.change_event()
        self._has_started = False
        self._refused: dict[str, str] = {}
        # Version of the generation that is to serve next, and how many items it lacks.
        self._missing: tuple[str, int] | None = None
        self._comparison: Comparison | None = None
        self._callbacks: list[Callable[[Sequence[ItemEncoder]], None]] = []
        self._filling: tuple[str, asyncio.Future[None]] | None = None
        reporter.add_part(self.report)

    @property
    def current(self) -> LoadedGeneration:
        """The generation that serves."""
        return self._current

    def on_tokenizers_changed(self, callback: Callable[[Sequence[ItemEncoder]], None]) -> None:
        """Call back when the set of loaded tokenizers changes.

        Args:
            callback: Gets the loaded tokenizers.
        """
        self._callbacks.append(callback)

    def pin(self) -> Pinned:
        """Return recommender and snapshot for the next request."""
        return self._current.pin()

    @property
    def snapshot(self) -> CatalogueSnapshot:
        """The catalogue snapshot that serves."""
        return self._current.catalogue.snapshot

    def stored_sid(self, key: int) -> StoredSid | None:
        """Look up the SID that a history entry stores for an item; the `lookup` of the fold.

        Args:
            key: Item key.

        Returns:
            The item's SID in the catalogue that serves now; `None` for an unknown item.
        """
        return self._current.catalogue.snapshot.stored_sid(key)

    def not_ready(self) -> list[str]:
        """Return why nothing is served, or why the ordered version is not."""
        active = self._plan().active
        if active in self._refused:
            served = f"{self._current.version} still serves" if self._has_started else "nothing serves"
            return [f"generations: {active} is ordered to serve and cannot, {served}: {self._refused[active]}"]
        return self._current.reader.not_ready()

    def work(self) -> Work:
        """Return how much of the start is left."""
        return self._current.reader.work() if not self._refused else IDLE

    def report(self, version: str) -> WorkerReport:
        """Return the progress of this side with the tokenizer version that is to serve."""
        serving = self._current.version if self._has_started else None
        if version in self._refused:
            return WorkerReport("refused", serving, detail=self._refused[version])
        generation = self._loaded.get(version)
        if generation is None:
            return WorkerReport("loading", serving)
        if generation is self._current and self._has_started:
            return WorkerReport("ready", serving)
        missing = self._missing[1] if self._missing is not None and self._missing[0] == version else 0
        return WorkerReport("ready" if self._covers(generation) else "filling", serving, missing)

    async def on_start(self) -> None:
        """Load the generation that is ordered to serve and let its catalogue catch up; returns once it serves."""
        while not self.should_stop:
            plan = self._plan()
            generation = self._current if plan.active == self._current.version else await self._load(plan.active)
            if generation is not None:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._settings.retry_s)
            self._changed.clear()
        else:
            return
        self._current, self._loaded[generation.version] = generation, generation
        run_at_full_speed(generation.catalogue, self._metrics)
        await self.add_runtime_dependency(generation.reader)
        generation.is_warm = self._has_started = True
        self._notify_tokenizers()
        self._metrics.generation_serving.labels(generation.version).set(1)
        self.add_future(self._follow_orders())

    async def on_stop(self) -> None:
        """Shut the pair loader down."""
        self._pair_loader.close()

    def _notify_tokenizers(self) -> None:
        tokenizers = [generation.tokenizer for generation in self._loaded.values()]
        for callback in self._callbacks:
            callback(tokenizers)

    def _plan(self) -> GenerationPlan:
        return self._control.orders.plan(self._pair_loader.own_version)

    def _covers(self, generation: LoadedGeneration) -> bool:
        """Whether a generation has all items that the current one serves, apart from those that its order exempts."""
        ordered = self._control.orders.find(generation.version)
        if not generation.is_warm or self._missing is None or self._missing[0] != generation.version:
            return False
        return self._missing[1] <= (0 if ordered is None else ordered.may_miss)

    async def _follow_orders(self) -> None:
        while not self.should_stop:
            self._changed.clear()
            plan = self._plan()
            await self._drop(plan)
            self._fill(plan)
            await self._compare(plan)
            self._switch(plan)
            is_settled = (
                plan.preparing is None and plan.active == self._current.version and set(plan.live) == set(self._loaded)
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._settings.retry_s if is_settled else _COMPARE_S)

    async def _load(self, version: str) -> LoadedGeneration | None:
        ordered = self._control.orders.find(version)
        try:
            pair = await self._pair_loader.load(version, version if ordered is None else ordered.pair)
            generation = await asyncio.to_thread(self._make, pair)
        except SidestreamError as exc:
            if self._refused.get(version) != str(exc):
                self._metrics.generation_refusals.labels("pair").inc()
                _log.error("generation refused", version=version, reason=str(exc))
            self._refused[version] = str(exc)
            return None
        self._refused.pop(version, None)
        return generation

    async def _drop(self, plan: GenerationPlan) -> None:
        """Release retired generations."""
        for version in self._refused.keys() - set(plan.live):
            del self._refused[version]
        if self._filling is not None and self._filling[0] not in plan.live:
            self._filling[1].cancel()
            self._filling = None
        for version in self._loaded.keys() - {*plan.live, self._current.version}:
            generation = self._loaded.pop(version)
            generation.reader.save_nothing()
            await self.remove_dependency(generation.reader)
            self._notify_tokenizers()
            _log.info("generation dropped", version=version)
        kept = {*plan.live, self._current.version}
        for ordered in self._control.orders.generations:
            if ordered.version not in kept:
                self._pair_loader.drop(ordered.version)
        await self._retired_catalogues.remove(self._control.orders.retired, kept)

    def _fill(self, plan: GenerationPlan) -> None:
        """Start to fill the next live generation that is not loaded; one at a time."""
        if self._filling is not None and self._filling[1].done():
            self._filling = None
        version = next((version for version in plan.live if version not in self._loaded), None)
        if self._filling is None and version is not None:
            self._filling = version, self.add_future(self._warm(version))

    async def _warm(self, version: str) -> None:
        """Load a generation, let its catalogue catch up and answer once, which makes libraries load lazy parts."""
        generation = await self._load(version)
        if generation is None:
            return
        _log.info("filling a generation", version=version, model=generation.model_version)
        throttle(generation.catalogue, self._settings)
        self._loaded[version] = generation
        try:
            await self.add_runtime_dependency(generation.reader)
        except (BrokerError, TopicError) as exc:
            _log.warning("generation cannot be filled; will retry", version=version, error=str(exc))
            del self._loaded[version]
            await self.remove_dependency(generation.reader)
            return
        start, pinned = SessionStart(session_id="warm-up", user_id="warm-up", at=EARLIEST_EVENT_AT), generation.pin()
        await asyncio.to_thread(pinned.recommender.recommend, start, None, pinned.snapshot, self._clock_ms())
        generation.is_warm = True
        self._notify_tokenizers()

    async def _compare(self, plan: GenerationPlan) -> None:
        """Count the items of the current generation that the next one lacks."""
        version = plan.active if plan.active != self._current.version else plan.preparing
        following = None if version is None else self._loaded.get(version)
        if following is None or not following.is_warm:
            self._missing = self._comparison = None
            return
        pending = self._comparison
        if pending is None or pending.version != following.version:
            self._comparison = Comparison(following.version, self.snapshot, following.reader.snapshot)
        elif pending.is_due(following):
            missing = await asyncio.to_thread(missing_keys, pending.then, self.snapshot, following.reader.snapshot)
            self._comparison, self._missing = None, (following.version, missing)
            self._metrics.generation_missing.set(missing)

    def _switch(self, plan: GenerationPlan) -> None:
        following, ordered = self._loaded.get(plan.active), self._control.orders.find(plan.active)
        if following is None or following is self._current or not following.is_warm:
            return
        if not self._covers(following) and not (ordered is not None and ordered.at_once):
            return
        before, self._current = self._current, following
        throttle(before.catalogue, self._settings)
        run_at_full_speed(following.catalogue, self._metrics)
        self._missing = self._comparison = None
        self._metrics.generation_serving.labels(before.version).set(0)
        self._metrics.generation_serving.labels(following.version).set(1)
        self._metrics.generation_switches.inc()
        _log.info("generation serves", version=following.version, model=following.model_version, before=before.version)
