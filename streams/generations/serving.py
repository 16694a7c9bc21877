"""The answering side of generations: every live pair with its catalogue, and which of them serves now.

A generation is a pair, a model that answers, and a reader of `item-sids.v1` with a catalogue of its own. The one that
serves is one reference; each request takes it once, so no answer ever mixes two. Another one begins to serve when it
is ordered and holds what the present one serves; until then, and where it cannot be loaded, the present one goes on.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from mode import Service

from sidestream.models.records import SessionStart
from sidestream.models.records.times import EARLIEST_EVENT_AT
from sidestream.streams.errors import BrokerError, SidestreamError, TopicError
from sidestream.streams.generations.control import ControlReader
from sidestream.streams.generations.leftovers import Leftovers
from sidestream.streams.generations.loaded import Live, Look
from sidestream.streams.generations.orders import Plan
from sidestream.streams.generations.paced import missing_keys, serve, stand_by
from sidestream.streams.generations.pair import Pair
from sidestream.streams.generations.reports import Reporter, Standing
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.generations.shelf import Shelf
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.progress import IDLE, Work
from sidestream.streams.sessions.answerer import Pinned
from sidestream.streams.tokenizing.values import ItemEncoder
from sidestream.tokenizer.catalogue import CatalogueSnapshot, StoredSid

_log = get_log(__name__)

# How often it is looked whether the next generation holds what the present one serves.
_LOOK_S = 0.5


class Serving(Service):
    """Holds the live generations and knows the one that serves.

    Args:
        home: The worker's own, not started.
        make: Builds a generation from a loaded pair.
        control: The orders.
        shelf: The pairs.
        reporter: Tells others.
        settings: Pace.
        metrics: Shows what serves.
        clock_ms: UTC epoch milliseconds, for the first answer of a generation.
        leftovers: Removes what retired versions have saved.
    """

    mundane_level = "debug"

    def __init__(
        self,
        home: Live,
        make: Callable[[Pair], Live],
        control: ControlReader,
        shelf: Shelf,
        reporter: Reporter,
        settings: GenerationSettings,
        metrics: Metrics,
        clock_ms: Callable[[], int],
        leftovers: Leftovers,
    ) -> None:
        super().__init__()
        self._now = home
        self._live: dict[str, Live] = {}
        self._make = make
        self._control = control
        self._shelf = shelf
        self._settings = settings
        self._metrics = metrics
        self._clock_ms = clock_ms
        self._leftovers = leftovers
        self._news = control.news()
        self._begun = False
        self._refused: dict[str, str] = {}
        # What the generation that is to serve next lacks, with its version.
        self._missing: tuple[str, int] | None = None
        self._look: Look | None = None
        self._users: list[Callable[[Sequence[ItemEncoder]], None]] = []
        self._filling: tuple[str, asyncio.Future[None]] | None = None
        reporter.ask(self.standing)

    @property
    def now(self) -> Live:
        """The generation that serves."""
        return self._now

    def adopted(self, use: Callable[[Sequence[ItemEncoder]], None]) -> None:
        """Have a part of the worker told which tokenizers are in use.

        Args:
            use: Called whenever they change.
        """
        self._users.append(use)

    def pin(self) -> Pinned:
        """Return what answers the next request."""
        return self._now.pin()

    @property
    def snapshot(self) -> CatalogueSnapshot:
        """The catalogue that serves."""
        return self._now.catalogue.snapshot

    def stored_sid(self, key: int) -> StoredSid | None:
        """Look up what a history entry stores of an item; the `lookup` of the fold.

        Args:
            key: Item key.

        Returns:
            The item's SID in the catalogue that serves now; none for an unknown item.
        """
        return self._now.catalogue.snapshot.stored_sid(key)

    def not_ready(self) -> list[str]:
        """Say why nothing is served, or not what is ordered."""
        active = self._plan().active
        if active in self._refused:
            served = f"{self._now.version} serves on" if self._begun else "nothing serves"
            return [f"generations: {active} is to serve and cannot, {served}: {self._refused[active]}"]
        return self._now.reader.not_ready()

    def work(self) -> Work:
        """Tell how much of the start is left."""
        return self._now.reader.work() if not self._refused else IDLE

    def standing(self, version: str) -> Standing:
        """Tell how far this side is with a version.

        Args:
            version: Tokenizer version that is to serve.

        Returns:
            The standing.
        """
        serving = self._now.version if self._begun else None
        if version in self._refused:
            return Standing("refused", serving, detail=self._refused[version])
        live = self._live.get(version)
        if live is None:
            return Standing("loading", serving)
        if live is self._now and self._begun:
            return Standing("ready", serving)
        missing = self._missing[1] if self._missing is not None and self._missing[0] == version else 0
        return Standing("ready" if self._covers(live) else "filling", serving, missing)

    async def on_start(self) -> None:
        """Load what is ordered to serve and let its catalogue catch up; returns once it serves."""
        while not self.should_stop:
            plan = self._plan()
            live = self._now if plan.active == self._now.version else await self._load(plan.active)
            if live is not None:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._settings.retry_s)
            self._news.clear()
        else:
            return
        self._now, self._live[live.version] = live, live
        serve(live.catalogue, self._metrics)
        await self.add_runtime_dependency(live.reader)
        live.warm = self._begun = True
        self._tell_users()
        self._metrics.generation_serving.labels(live.version).set(1)
        self.add_future(self._follow())

    async def on_stop(self) -> None:
        """Let the pairs go."""
        self._shelf.close()

    def _tell_users(self) -> None:
        tokenizers = [live.tokenizer for live in self._live.values()]
        for use in self._users:
            use(tokenizers)

    def _plan(self) -> Plan:
        return self._control.orders.plan(self._shelf.home_version)

    def _covers(self, live: Live) -> bool:
        """Tell whether a generation holds what the present one serves, but for what the order lets it miss."""
        ordered = self._control.orders.find(live.version)
        if not live.warm or self._missing is None or self._missing[0] != live.version:
            return False
        return self._missing[1] <= (0 if ordered is None else ordered.may_miss)

    async def _follow(self) -> None:
        while not self.should_stop:
            self._news.clear()
            plan = self._plan()
            await self._drop(plan)
            self._fill(plan)
            await self._compare(plan)
            self._switch(plan)
            is_settled = (
                plan.preparing is None and plan.active == self._now.version and set(plan.live) == set(self._live)
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._settings.retry_s if is_settled else _LOOK_S)

    async def _load(self, version: str) -> Live | None:
        ordered = self._control.orders.find(version)
        try:
            pair = await self._shelf.pair(version, version if ordered is None else ordered.pair)
            live = await asyncio.to_thread(self._make, pair)
        except SidestreamError as exc:
            if self._refused.get(version) != str(exc):
                self._metrics.generation_refusals.labels("pair").inc()
                _log.error("generation refused", version=version, reason=str(exc))
            self._refused[version] = str(exc)
            return None
        self._refused.pop(version, None)
        return live

    async def _drop(self, plan: Plan) -> None:
        """Let go of what was retired."""
        for version in self._refused.keys() - set(plan.live):
            del self._refused[version]
        if self._filling is not None and self._filling[0] not in plan.live:
            self._filling[1].cancel()
            self._filling = None
        for version in self._live.keys() - {*plan.live, self._now.version}:
            live = self._live.pop(version)
            live.reader.save_nothing()
            await self.remove_dependency(live.reader)
            self._tell_users()
            _log.info("generation dropped", version=version)
        kept = {*plan.live, self._now.version}
        for generation in self._control.orders.generations:
            if generation.version not in kept:
                self._shelf.drop(generation.version)
        await self._leftovers.clear(self._control.orders.retired, kept)

    def _fill(self, plan: Plan) -> None:
        """Begin with the next generation that is live and not here; one at a time."""
        if self._filling is not None and self._filling[1].done():
            self._filling = None
        version = next((version for version in plan.live if version not in self._live), None)
        if self._filling is None and version is not None:
            self._filling = version, self.add_future(self._warm(version))

    async def _warm(self, version: str) -> None:
        """Load a generation, let its catalogue catch up and let it answer once: libraries load parts of themselves."""
        live = await self._load(version)
        if live is None:
            return
        _log.info("generation fills", version=version, model=live.model_version)
        stand_by(live.catalogue, self._settings)
        self._live[version] = live
        try:
            await self.add_runtime_dependency(live.reader)
        except (BrokerError, TopicError) as exc:
            _log.warning("generation cannot fill; tried again", version=version, error=str(exc))
            del self._live[version]
            await self.remove_dependency(live.reader)
            return
        start, pinned = SessionStart(session_id="warm-up", user_id="warm-up", at=EARLIEST_EVENT_AT), live.pin()
        await asyncio.to_thread(pinned.recommender.recommend, start, None, pinned.snapshot, self._clock_ms())
        live.warm = True
        self._tell_users()

    async def _compare(self, plan: Plan) -> None:
        """Count what the next generation lacks of the present one."""
        version = plan.active if plan.active != self._now.version else plan.preparing
        live = None if version is None else self._live.get(version)
        if live is None or not live.warm:
            self._missing = self._look = None
            return
        look = self._look
        if look is None or look.version != live.version:
            self._look = Look(live.version, self.snapshot, live.reader.snapshot)
        elif look.is_due(live):
            missing = await asyncio.to_thread(missing_keys, look.then, self.snapshot, live.reader.snapshot)
            self._look, self._missing = None, (live.version, missing)
            self._metrics.generation_missing.set(missing)

    def _switch(self, plan: Plan) -> None:
        live, ordered = self._live.get(plan.active), self._control.orders.find(plan.active)
        if live is None or live is self._now or not live.warm:
            return
        if not self._covers(live) and not (ordered is not None and ordered.at_once):
            return
        before, self._now = self._now, live
        stand_by(before.catalogue, self._settings)
        serve(live.catalogue, self._metrics)
        self._missing = self._look = None
        self._metrics.generation_serving.labels(before.version).set(0)
        self._metrics.generation_serving.labels(live.version).set(1)
        self._metrics.generation_switches.inc()
        _log.info("generation serves", version=live.version, model=live.model_version, before=before.version)
