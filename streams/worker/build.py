"""Builds a worker's parts and defines the order in which they start.

Order: the watchdog (so that everything after it is watched), the web server (so that the rest of the start is visible),
Kafka and its topics, the catalogue (caught up, so that folded listens find their SIDs), the lanes' producers, then
Faust, which joins the group and assigns partitions. They stop in reverse order: Faust commits what the lanes have
finished while their producers are still open.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faust
from faust.app.base import BootStrategy
from faust.types import ServiceT
from mode import Service

from sidestream.streams.contracts.decode import Limits, decode_listen, decode_session_start, decode_user_erasure
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.contracts.topics import Topics, build_topics
from sidestream.streams.generations.pair import Pair, load_pair
from sidestream.streams.generations.pair_loader import LoadPair
from sidestream.streams.generations.serving import Serving
from sidestream.streams.group.faust_app import make_faust_app
from sidestream.streams.group.host import FaustHost, register
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.durable.guarantee import Guarantee
from sidestream.streams.listens.erasure.feed import ErasureFeed
from sidestream.streams.listens.erasure.sweep import Sweep
from sidestream.streams.listens.lane import ListenLane
from sidestream.streams.listens.restore.progress import not_restored
from sidestream.streams.listens.standbys import Standbys
from sidestream.streams.listens.table.meta import TableIdentity
from sidestream.streams.listens.table.upkeep import TableUpkeep
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.popularity.aggregator import Aggregator, make_aggregator
from sidestream.streams.popularity.count_publisher import make_item_counting
from sidestream.streams.runtime.clock import Clock, LogClock, WallClock
from sidestream.streams.runtime.health import Health
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.progress import IDLE, Work
from sidestream.streams.sessions.answerer import Answerer
from sidestream.streams.sessions.lane import SessionLane
from sidestream.streams.sessions.lane_wait import LaneWait
from sidestream.streams.settings import Settings
from sidestream.streams.tokenizing.agent import CatalogAgent
from sidestream.streams.tokenizing.drift import DriftMonitor
from sidestream.streams.tokenizing.live.audience import LiveAudience
from sidestream.streams.tokenizing.live.ids import LiveIds
from sidestream.streams.tokenizing.live.items import LiveItems
from sidestream.streams.tokenizing.live.service import LiveItemsService
from sidestream.streams.tokenizing.live_codebooks import live_codebooks
from sidestream.streams.worker.folder import TABLES, worker_folder
from sidestream.streams.worker.gates import TopicGate
from sidestream.streams.worker.generations import GenerationParts
from sidestream.streams.worker.registration import Registration
from sidestream.streams.worker.states import LaneStates
from sidestream.streams.worker.watch.backlog import Backlog
from sidestream.streams.worker.watch.heartbeat import Heartbeat
from sidestream.streams.worker.watch.membership import GroupMembership
from sidestream.streams.worker.watch.waits import task_waits
from sidestream.streams.worker.watch.watchdog import Watchdog
from sidestream.streams.worker.web.routes import create_web
from sidestream.streams.worker.web.server import WebServer

# Waiting for a dead worker's session and open transaction to time out does not count as a lack of progress.
_NO_PROGRESS_MARGIN_S = 10.0

_Lane = ListenLane | ErasureFeed | SessionLane | Aggregator


class _Boot(BootStrategy):
    """Faust's hook for the graph of services: ours start first."""

    services: Sequence[ServiceT] = ()

    def server(self) -> Iterable[ServiceT]:
        """Return the services in their start order."""
        return (*self.services, *super().server())


class WorkerParts:
    """The parts of a worker, built and not started.

    Args:
        settings: All settings.
        pair: The pair that it serves if no other generation is ordered.
        metrics: Its metrics.
        load: Loads the pair folders of other generations; `load_pair` by default.
    """

    def __init__(self, settings: Settings, pair: Pair, metrics: Metrics, load: LoadPair | None = None) -> None:
        self.settings = settings
        self.metrics = metrics
        self.health = Health(metrics)
        self.clients = Clients(settings.kafka)
        self.clients.outages.on_begin = lambda part: metrics.kafka_outages.labels(part).inc()
        self.topics: Topics = build_topics(settings.topics)
        self.limits = Limits.from_settings(settings.topics)
        self.clock: Clock = WallClock() if settings.worker.clock == "wall" else LogClock()
        self.role = settings.worker.role
        self.folder: Path = worker_folder(settings)
        self.states: LaneStates | None = None
        self.guarantee: Guarantee | None = None
        self._standbys: Standbys | None = None
        lane_metrics = LaneMetrics(metrics, self.topics.listens.name)
        self.app: faust.App = make_faust_app(
            settings.worker.group_id,
            self.clients,
            settings.lane,
            self.folder,
            lane_metrics,
            settings.worker.group_instance_id,
        )
        self.watchdog = self._watchdog()
        self._heartbeat = Heartbeat(self.watchdog)
        gate = TopicGate(self.clients, self.topics, settings.worker.broker_wait_s, settings.worker.group_id)
        self._backlog = self._watch_backlog()
        self.health.add_readiness_check(gate.not_ready)
        self.health.add_readiness_check(self.clients.outages.not_ready)
        load = load or partial(load_pair, settings=settings.engine, with_model=self.role != "tokenize")
        self._generations = GenerationParts(
            settings, pair, load, self.clients, self.topics, metrics, self.clock, self.folder / "catalogue"
        )
        self._serves: Callable[[], tuple[str, str]] = lambda: (pair.tokenizer.version, pair.model_version)
        services: list[Service] = [gate, self._backlog, *self._generations.services]
        self.health.add_readiness_check(self._generations.control.not_ready)
        self._watch("generations", self._generations.control.work)
        if self.role != "tokenize":
            services += self._recommending(pair, lane_metrics)
        if self.role != "recommend":
            services += self._tokenizing(pair)
        group = GroupMembership(self.app)
        self.health.add_readiness_check(group.not_ready)
        # A rebalance may take its whole timeout.
        self._watch("group", group.work, _no_progress_s(settings) + settings.lane.rebalance_timeout_ms / 1e3)
        self.web = WebServer(create_web(self.health, metrics, self.states, self._about), settings.web)
        boot = _Boot(self.app)
        boot.services = (self._heartbeat, self.web, Registration(settings, self.folder, self.web), *services)
        self.app.boot_strategy = boot

    def _watchdog(self) -> Watchdog:
        app = self.app
        watchdog = Watchdog(
            self.settings.worker.watchdog,
            _no_progress_s(self.settings),
            is_ending=lambda: bool(app.should_stop),
            crash_reason=lambda: app.crash_reason,
            waits=lambda: task_waits(app.loop),
        )
        self.health.add_liveness_check(watchdog.not_alive)
        return watchdog

    def _watch_backlog(self) -> Backlog:
        topics = []
        if self.role != "tokenize":
            topics += [self.topics.listens, self.topics.user_erasures, self.topics.session_starts]
            topics += [self.topics.item_count_changes] if self.settings.popularity.enabled else []
        if self.role != "recommend":
            topics += [self.topics.catalog_items, self.topics.live_segments, self.topics.live_listeners]
        return Backlog(self.clients, topics, self.settings.worker.watchdog.ask_kafka_s, self.app)

    def _tokenizing(self, pair: Pair) -> list[Service]:
        items = LiveItems(self.topics, live_codebooks([pair.tokenizer]), self.limits, self.settings.live, self.metrics)
        live = LiveItemsService(items, self.topics.live_states, self.clients, self.clock)
        agent = CatalogAgent(
            self.app,
            self.clients,
            self.topics,
            pair.tokenizer,
            self.limits,
            self.settings.agent,
            self.metrics,
            live=live,
        )
        retokenizer = self._generations.retokenizer(self.app, agent, self.limits)
        retokenizer.on_tokenizers_changed(lambda tokenizers: items.set_codebooks(live_codebooks(tokenizers)))
        drift = DriftMonitor(self.settings.agent.drift, self.metrics)
        drift.set_tokenizers([pair.tokenizer])
        agent.record_maker.on_values = drift.observe
        retokenizer.on_tokenizers_changed(drift.set_tokenizers)
        if self.role == "tokenize":
            self._serves = lambda: ((*retokenizer.versions, pair.tokenizer.version)[0], pair.model_version)
        self.health.add_readiness_check(retokenizer.not_ready)
        self._watch("catalog agent", agent.work)
        for source in (self.topics.catalog_items.name, *live.sources):
            self._watch(source, partial(self._unread_by, agent, source))
        return [agent, retokenizer]

    def _unread_by(self, agent: CatalogAgent, source: str) -> Work:
        # Records that wait for a pair that cannot be loaded are reported by the readiness, and no reason to terminate.
        return self._backlog.unread(source) if agent.is_able else IDLE

    def _watch(self, part: str, work: Callable[[], Work], limit_s: float | None = None) -> None:
        """Let the watchdog watch a part, except while Kafka is away: that is no reason to terminate."""
        self._heartbeat.watch(part, lambda: work() if self._backlog.answers else IDLE, limit_s)

    def _recommending(self, pair: Pair, lane_metrics: LaneMetrics) -> list[Service]:
        serving = self._generations.serving(pair)
        self._serves = lambda: (serving.current.version, serving.current.model_version)
        self.health.add_readiness_check(serving.not_ready)
        host = FaustHost(self.app)
        erasures = self._erasures()
        ids, audience = self._audience(pair)
        serving.on_tokenizers_changed(lambda tokenizers: audience.set_codebooks(live_codebooks(tokenizers)))
        pacer = Pacer(self.settings.lane.slice_ms, self.settings.lane.listen_share)
        counted = self.settings.popularity, self.topics, self.clients
        table = self._table()
        lane = ListenLane(
            host,
            self.clients,
            table,
            partial(decode_listen, limits=self.limits),
            serving.stored_sid,
            self.settings.lane,
            lane_metrics,
            pacer=pacer,
            erasures=erasures,
            on_durable=audience.count_listens,
            derived=make_item_counting(*counted, self.limits, pacer, self.metrics),
            placement=Placement(self.topics.listens),
        )
        self.guarantee = lane.guarantee
        self.states = LaneStates(lane, self.topics.listens, lambda: serving.snapshot)
        self.health.add_readiness_check(partial(not_restored, lane))
        self._standbys = lane.standbys
        for partition in range(self.topics.listens.partitions):
            lag = self.metrics.standby_lag_seconds.labels(str(partition))
            lag.set_function(partial(_standby_lag_s, lane.standbys, partition))
        # Registered first, it stops last: it may still read what the listen lane publishes when it stops.
        parts = (self.settings.popularity, self.settings.lane, self.metrics, pacer, lambda: bool(not_restored(lane)))
        if (aggregator := make_aggregator(host, self.clients, self.topics, *parts, self.limits)) is not None:
            self._add_lane(aggregator, self.topics.item_count_changes.partitions)
        sessions = self._sessions(serving, lane, host, pacer)
        self._watch("catalogue", serving.work)
        self.health.add_readiness_check(sessions.not_ready)
        # Sessions read the listen lane's tables: registered last, they stop first.
        for part in (lane, erasures, sessions):
            self._add_lane(part, self.topics.listens.partitions)
        counts = self._generations.counts_reader()
        upkeep = TableUpkeep(table, lane.tables_in_use, self.settings.lane, lane_metrics)
        return [serving, *([] if counts is None else [counts]), ids, audience, lane.standbys, sessions, upkeep]

    def _add_lane(self, lane: _Lane, partitions: int) -> None:
        register(self.app, lane)
        self._watch(lane.topic, partial(_work_of, lane, self._backlog))
        for partition in range(partitions):
            unread = self.metrics.unread.labels(lane.topic, str(partition))
            unread.set_function(partial(_unread_of, lane, self._backlog, partition))

    def _erasures(self) -> ErasureFeed:
        topic = self.topics.user_erasures
        sweep = Sweep(
            self.topics.listens.name, topic.name, self.clients, self.settings.lane, WallClock(), time.monotonic
        )
        decode = partial(decode_user_erasure, limits=self.limits)
        return ErasureFeed(topic.name, self.clients, decode, sweep, Placement(topic))

    def _audience(self, pair: Pair) -> tuple[LiveIds, LiveAudience]:
        ids = LiveIds(self.clients, self.topics.live_states)
        codebooks = live_codebooks([pair.tokenizer])
        audience = LiveAudience(self.clients, self.topics.live_listeners, ids, codebooks, self.settings.live)
        self.app.on_partitions_revoked.connect(audience.on_revoked)
        return ids, audience

    def _table(self) -> UserTable:
        listens = self.topics.listens
        identity = TableIdentity(
            listens.name, self.topics.user_state_changelog.name, listens.partitions, listens.partitioner
        )
        return UserTable(self.folder / TABLES, identity, self.settings.lane.table)

    def _sessions(self, serving: Serving, lane: ListenLane, host: FaustHost, pacer: Pacer) -> SessionLane:
        answerer = Answerer(
            serving.pin,
            lane.read,
            self.settings.session,
            self.metrics,
            self.clock,
            WallClock(),
        )
        return SessionLane(
            self.clients,
            self.topics.session_starts,
            self.topics.candidates,
            partial(decode_session_start, limits=self.limits),
            answerer,
            host,
            lane.is_ready,
            self.settings.session,
            self.metrics,
            pacer,
            LaneWait(
                self.topics.listens.name, lane.folded_to, self.settings.session.wait_for_lane_ms, pacer, self.metrics
            ),
            WallClock(),
            Placement(self.topics.session_starts),
        )

    def _about(self) -> dict[str, Any]:
        tokenizer_version, model_version = self._serves()
        about = {"role": self.role, "tokenizer_version": tokenizer_version, "model_version": model_version}
        if self.guarantee is None or self._standbys is None:
            return about
        lags, troubles = self._standbys.lags().items(), self._standbys.troubles
        standbys = [
            {"partition": p, "behind": behind, "lag_ms": lag_ms, **({"trouble": troubles[p]} if p in troubles else {})}
            for p, (behind, lag_ms) in lags
        ]
        return {**about, "guarantee": self.guarantee, "standbys": standbys}


def _no_progress_s(settings: Settings) -> float:
    if settings.worker.watchdog.no_progress_s is not None:
        return settings.worker.watchdog.no_progress_s
    return (settings.kafka.session_timeout_ms + settings.lane.transaction_timeout_ms) / 1e3 + _NO_PROGRESS_MARGIN_S


def _standby_lag_s(standbys: Standbys, partition: int) -> float:
    _, lag_ms = standbys.lags().get(partition, (None, None))
    return math.nan if lag_ms is None else lag_ms / 1e3


def _work_of(lane: _Lane, backlog: Backlog) -> Work:
    return lane.work(backlog.ends(lane.topic))


def _unread_of(lane: _Lane, backlog: Backlog, partition: int) -> int:
    return lane.unread(backlog.ends(lane.topic)).get(partition, 0)
