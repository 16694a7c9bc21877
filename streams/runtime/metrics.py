"""Every number that `/metrics` shows: names, units and labels in one place.

Names begin with `sidestream_`, units are base units (seconds, bytes), labels have few values (topic, outcome, step):
never a user, an item or a session. One `Metrics` per worker with a registry of its own, so tests may build many.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

# From a beam on a small catalogue (0.5 ms) to a request that met its deadline.
_STEP_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_SLOW_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The worker's counters, gauges and histograms.

    Args:
        registry: Where they are registered; by default a new registry with the process's own figures.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        if registry is None:
            registry = CollectorRegistry()
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)
        self.registry = registry
        self._sessions(registry)
        self._catalogue(registry)
        self._live(registry)
        self._listens(registry)
        self._generations(registry)
        self._drift(registry)
        self.dead_letters = Counter(
            "sidestream_dead_letters",
            "Malformed records sent to the dead letters.",
            ("topic", "reason"),
            registry=registry,
        )
        self.unread = Gauge(
            "sidestream_unread",
            "Records of a partition of this worker that it has not fetched.",
            ("topic", "partition"),
            registry=registry,
        )
        self.ready = Gauge("sidestream_ready", "1 while /readyz says yes.", registry=registry)

    def expose(self) -> bytes:
        """Return all figures in the Prometheus text format."""
        return generate_latest(self.registry)

    def _sessions(self, registry: CollectorRegistry) -> None:
        self.sessions = Counter(
            "sidestream_sessions", "Answered session-starts: by the model, or why not.", ("outcome",), registry=registry
        )
        self.session_seconds = Histogram(
            "sidestream_session_seconds",
            "From the fetch of a session-start to the acknowledged candidates.",
            buckets=_STEP_BUCKETS,
            registry=registry,
        )
        self.session_delay_seconds = Histogram(
            "sidestream_session_delay_seconds",
            "From the Kafka timestamp of a session-start to its candidate set.",
            buckets=_SLOW_BUCKETS,
            registry=registry,
        )
        self.step_seconds = Histogram(
            "sidestream_session_step_seconds",
            "Time per step of an answer.",
            ("step",),
            buckets=_STEP_BUCKETS,
            registry=registry,
        )
        self.sessions_in_flight = Gauge(
            "sidestream_sessions_in_flight", "Session-starts fetched and not yet answered.", registry=registry
        )
        self.lane_waits = Counter(
            "sidestream_lane_waits",
            "Session-starts that waited for listens to be folded, by how it ended.",
            ("outcome",),
            registry=registry,
        )
        self.history_entries = Counter(
            "sidestream_history_entries",
            "Listens of the histories that answers rest on, by where their SID came from; dropped: from nowhere.",
            ("outcome",),
            registry=registry,
        )
        self.candidates = Counter(
            "sidestream_candidates", "Published candidates by how they came in.", ("origin",), registry=registry
        )

    def _catalogue(self, registry: CollectorRegistry) -> None:
        self.catalogue_items = Gauge("sidestream_catalogue_items", "Items in the live snapshot.", registry=registry)
        self.catalogue_updates = Counter(
            "sidestream_catalogue_updates",
            "Records of item-sids read, by what became of them.",
            ("outcome",),
            registry=registry,
        )
        self.catalogue_build_seconds = Histogram(
            "sidestream_catalogue_build_seconds", "Time to build a snapshot.", buckets=_SLOW_BUCKETS, registry=registry
        )
        self.catalogue_visible_seconds = Histogram(
            "sidestream_catalogue_visible_seconds",
            "From the arrival of an update to the swap that shows it.",
            buckets=_SLOW_BUCKETS,
            registry=registry,
        )
        self.popularity_items = Gauge(
            "sidestream_popularity_items", "Items with a decayed count of listens.", registry=registry
        )
        self.popularity_records = Counter(
            "sidestream_popularity_records",
            "Records of item-counts read, by what became of them.",
            ("outcome",),
            registry=registry,
        )
        self.tokenized_items = Counter(
            "sidestream_tokenized_items",
            "Catalogue records made into SIDs or tombstones.",
            ("outcome",),
            registry=registry,
        )
        self.tokenize_seconds = Histogram(
            "sidestream_tokenize_seconds",
            "From the first record of a micro-batch to its acknowledged SIDs.",
            buckets=_SLOW_BUCKETS,
            registry=registry,
        )

    def _live(self, registry: CollectorRegistry) -> None:
        self.live_items = Gauge("sidestream_live_items", "Live items whose states are here.", registry=registry)
        self.live_changes_last_hour = Gauge(
            "sidestream_live_changes_last_hour",
            "Changes of SIDs of these items in the last hour.",
            registry=registry,
        )
        self.live_retokenized = Counter(
            "sidestream_live_retokenized", "Times that a live item got another SID.", registry=registry
        )
        self.live_segments = Counter(
            "sidestream_live_segments",
            "Segments of live items read, by what became of them.",
            ("outcome",),
            registry=registry,
        )
        self.live_listeners = Counter(
            "sidestream_live_listeners",
            "Sums of listeners of live items read, by what became of them.",
            ("outcome",),
            registry=registry,
        )
        self.live_ended = Counter(
            "sidestream_live_ended", "Live items whose state was removed, by why.", ("reason",), registry=registry
        )

    def _generations(self, registry: CollectorRegistry) -> None:
        self.generation_serving = Gauge(
            "sidestream_generation_serving", "1 for the tokenizer version that serves.", ("version",), registry=registry
        )
        self.generation_missing = Gauge(
            "sidestream_generation_missing_items",
            "Items served now that the generation under preparation does not hold yet.",
            registry=registry,
        )
        self.generation_switches = Counter(
            "sidestream_generation_switches", "Times that another generation began to serve.", registry=registry
        )
        self.generation_refusals = Counter(
            "sidestream_generation_refusals",
            "Pairs and orders that were refused, by why.",
            ("reason",),
            registry=registry,
        )
        self.rewritten_items = Counter(
            "sidestream_rewritten_items",
            "Items taken up again for another set of tokenizer versions, by what became of them.",
            ("outcome",),
            registry=registry,
        )

    def _listens(self, registry: CollectorRegistry) -> None:
        self.listens = Counter(
            "sidestream_listens", "Listens read, by what the fold made of them.", ("outcome",), registry=registry
        )
        self.lane_batch_seconds = Histogram(
            "sidestream_lane_batch_seconds",
            "From the fold of a batch to its durable state.",
            buckets=_SLOW_BUCKETS,
            registry=registry,
        )
        self.erasures = Counter(
            "sidestream_erasures",
            "Users by what an erasure took: erased, their data; forgotten, the watermarks that it left.",
            ("outcome",),
            registry=registry,
        )
        self.restored_records = Counter(
            "sidestream_restored_records", "Changelog records restored into the user table.", registry=registry
        )
        self.rebuilt_tables = Counter(
            "sidestream_rebuilt_tables",
            "Local tables that were thrown away and rebuilt from their changelog, by why.",
            ("reason",),
            registry=registry,
        )
        self.stray_records = Counter(
            "sidestream_stray_records",
            "Records of a lane that Faust's own consumer fetched and that were dropped there.",
            registry=registry,
        )

    def _drift(self, registry: CollectorRegistry) -> None:
        self.drift_reference = Gauge(
            "sidestream_drift_reference", "1 if the tokenizer knows what arrivals are compared with.", registry=registry
        )
        self.drift_arrivals = Gauge(
            "sidestream_drift_arrivals", "New items in the window that is judged.", registry=registry
        )
        self.drift_residual_share = Gauge(
            "sidestream_drift_residual_share",
            "Share of new items whose codes leave more over than those of 95 % of the training items.",
            registry=registry,
        )
        self.drift_psi = Gauge(
            "sidestream_drift_psi",
            "Population stability index of a level's codes beside training, less what chance gives.",
            ("level",),
            registry=registry,
        )
        self.drift_collision_share = Gauge(
            "sidestream_drift_collision_share",
            "Share of new items that share their SID with another new one: measured, and expected from training.",
            ("kind",),
            registry=registry,
        )
        self.drift_alarm = Gauge(
            "sidestream_drift_alarm", "1 while new items lie beyond the limit of a kind.", ("kind",), registry=registry
        )
