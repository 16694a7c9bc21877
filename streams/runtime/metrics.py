"""All metrics of `/metrics`: names, units and labels in one place.

Names begin with `sidestream_`, units are base units (seconds, bytes), labels have few values (topic, outcome, step):
never a user, an item or a session. One `Metrics` per worker with its own registry, so tests may create many.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

# From a beam search on a small catalogue (0.5 ms) to a request that reached its deadline.
_STEP_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_SLOW_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The worker's counters, gauges and histograms.

    Args:
        registry: Prometheus registry; by default a new one with the process metrics.
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
            "Records of this worker's partitions that it has not fetched.",
            ("topic", "partition"),
            registry=registry,
        )
        self.kafka_outages = Counter(
            "sidestream_kafka_outages",
            "Times that a part of the worker lost Kafka and waited for it, leader changes included.",
            ("part",),
            registry=registry,
        )
        self.ready = Gauge("sidestream_ready", "1 while /readyz reports ready.", registry=registry)

    def expose(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def _sessions(self, registry: CollectorRegistry) -> None:
        self.sessions = Counter(
            "sidestream_sessions",
            "Answered session-starts: by the model, or the reason for the fallback.",
            ("outcome",),
            registry=registry,
        )
        self.sessions_skipped = Counter(
            "sidestream_sessions_skipped",
            "Session-starts that get no answer: stale, older than session.max_age_ms; deleted by retention before they "
            "were read.",
            ("reason",),
            registry=registry,
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
            "Session-starts that waited for listens to be folded, by outcome.",
            ("outcome",),
            registry=registry,
        )
        self.history_entries = Counter(
            "sidestream_history_entries",
            "Listens of the histories used for answers, by source of their SID; dropped: no usable SID.",
            ("outcome",),
            registry=registry,
        )
        self.candidates = Counter(
            "sidestream_candidates", "Published candidates by origin.", ("origin",), registry=registry
        )

    def _catalogue(self, registry: CollectorRegistry) -> None:
        self.catalogue_items = Gauge("sidestream_catalogue_items", "Items in the current snapshot.", registry=registry)
        self.catalogue_updates = Counter(
            "sidestream_catalogue_updates",
            "Records of item-sids read, by outcome.",
            ("outcome",),
            registry=registry,
        )
        self.catalogue_build_seconds = Histogram(
            "sidestream_catalogue_build_seconds", "Time to build a snapshot.", buckets=_SLOW_BUCKETS, registry=registry
        )
        self.catalogue_visible_seconds = Histogram(
            "sidestream_catalogue_visible_seconds",
            "From the arrival of an update to the snapshot swap that makes it visible.",
            buckets=_SLOW_BUCKETS,
            registry=registry,
        )
        self.popularity_items = Gauge(
            "sidestream_popularity_items", "Items with a decayed count of listens.", registry=registry
        )
        self.popularity_records = Counter(
            "sidestream_popularity_records",
            "Totals of item-count-totals applied to the ranking, by outcome.",
            ("outcome",),
            registry=registry,
        )
        self.popularity_changes = Counter(
            "sidestream_popularity_changes",
            "Records of item-count-changes added to this worker's totals, by outcome; ahead, other_half_life and "
            "malformed are left out, deleted by retention before they were read.",
            ("outcome",),
            registry=registry,
        )
        self.popularity_ahead = Counter(
            "sidestream_popularity_ahead",
            "Listens that do not count for popularity: dated ahead of this worker's clock by more than the limit.",
            registry=registry,
        )
        self.popularity_unpublished = Gauge(
            "sidestream_popularity_unpublished",
            "Listens of this worker's partitions that are counted and not published yet.",
            registry=registry,
        )
        self.popularity_behind = Gauge(
            "sidestream_popularity_behind",
            "Listens from before this worker's assignment that it still has to count.",
            registry=registry,
        )
        self.tokenized_items = Counter(
            "sidestream_tokenized_items",
            "Catalogue records turned into SIDs or tombstones.",
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
        self.live_items = Gauge("sidestream_live_items", "Live items whose state this worker holds.", registry=registry)
        self.live_changes_last_hour = Gauge(
            "sidestream_live_changes_last_hour",
            "SID changes of these items in the last hour.",
            registry=registry,
        )
        self.live_retokenized = Counter(
            "sidestream_live_retokenized", "Number of times a live item got another SID.", registry=registry
        )
        self.live_segments = Counter(
            "sidestream_live_segments",
            "Segments of live items read, by outcome.",
            ("outcome",),
            registry=registry,
        )
        self.live_listeners = Counter(
            "sidestream_live_listeners",
            "Listener sums of live items read, by outcome.",
            ("outcome",),
            registry=registry,
        )
        self.live_ended = Counter(
            "sidestream_live_ended", "Live items whose state was removed, by reason.", ("reason",), registry=registry
        )

    def _generations(self, registry: CollectorRegistry) -> None:
        self.generation_serving = Gauge(
            "sidestream_generation_serving",
            "1 for the tokenizer version that is served.",
            ("version",),
            registry=registry,
        )
        self.generation_missing = Gauge(
            "sidestream_generation_missing_items",
            "Items served now that the generation being prepared does not contain yet.",
            registry=registry,
        )
        self.generation_switches = Counter(
            "sidestream_generation_switches", "Number of switches to another generation.", registry=registry
        )
        self.generation_refusals = Counter(
            "sidestream_generation_refusals",
            "Generations and orders that were refused, by reason.",
            ("reason",),
            registry=registry,
        )
        self.rewritten_items = Counter(
            "sidestream_rewritten_items",
            "Items tokenized again for another set of tokenizer versions, by outcome.",
            ("outcome",),
            registry=registry,
        )

    def _listens(self, registry: CollectorRegistry) -> None:
        self.listens = Counter(
            "sidestream_listens", "Listens read, by outcome of the fold.", ("outcome",), registry=registry
        )
        self.lane_batch_seconds = Histogram(
            "sidestream_lane_batch_seconds",
            "From the fold of a batch to its durable state.",
            buckets=_SLOW_BUCKETS,
            registry=registry,
        )
        self.erasures = Counter(
            "sidestream_erasures",
            "Users by what an erasure deleted: erased, their data; forgotten, the remaining watermarks.",
            ("outcome",),
            registry=registry,
        )
        self.standby_lag_seconds = Gauge(
            "sidestream_standby_lag_seconds",
            "Time since a standby's table was last complete; 0 while it is, NaN for other partitions.",
            ("partition",),
            registry=registry,
        )
        self.restored_records = Counter(
            "sidestream_restored_records", "Changelog records restored into the user table.", registry=registry
        )
        self.rebuilt_tables = Counter(
            "sidestream_rebuilt_tables",
            "Local tables that were discarded and rebuilt from their changelog, by reason.",
            ("reason",),
            registry=registry,
        )
        self.deleted_tables = Counter(
            "sidestream_deleted_tables",
            "Local tables that were deleted because their partitions had moved to other workers.",
            registry=registry,
        )
        self.expired_states = Counter(
            "sidestream_expired_states",
            "Users whose state was removed because they had not listened for lane.state_ttl_days.",
            registry=registry,
        )
        self.stray_records = Counter(
            "sidestream_stray_records",
            "Records of a lane that Faust's own consumer fetched, which are dropped.",
            registry=registry,
        )

    def _drift(self, registry: CollectorRegistry) -> None:
        self.drift_reference = Gauge(
            "sidestream_drift_reference", "1 if the tokenizer has reference statistics.", registry=registry
        )
        self.drift_arrivals = Gauge(
            "sidestream_drift_arrivals", "New items in the evaluated window.", registry=registry
        )
        self.drift_residual_share = Gauge(
            "sidestream_drift_residual_share",
            "Share of new items with a larger quantization residual than 95 % of the training items.",
            registry=registry,
        )
        self.drift_psi = Gauge(
            "sidestream_drift_psi",
            "Population stability index of a level's codes against training, less its expectation by chance.",
            ("level",),
            registry=registry,
        )
        self.drift_collision_share = Gauge(
            "sidestream_drift_collision_share",
            "Share of new items that have the same SID as another new item: measured, and expected from training.",
            ("kind",),
            registry=registry,
        )
        self.drift_alarm = Gauge(
            "sidestream_drift_alarm", "1 while new items exceed the limit of a kind.", ("kind",), registry=registry
        )
