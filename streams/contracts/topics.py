"""Topic contract: names, keys, values, partition counts and configuration, and the check of a Kafka cluster against it.

Topics keyed by `user_id`, and the counts derived from them, are co-partitioned (equal partition counts, one
partitioner), because one worker must handle a listener's state, the listens that change it and the session-starts that
read it. Topics that hold the latest value of a key are compacted; a changelog with time-based deletion would lose
listeners.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sidestream.models.records import (
    CandidateSet,
    CatalogItem,
    Generation,
    GenerationReport,
    ItemSids,
    Listen,
    LiveListeners,
    LiveSegment,
    Record,
    SessionStart,
    UserErasure,
)
from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.settings import DEFAULT_PARTITIONER, PartitionerName, TopicSettings
from sidestream.streams.errors import TopicError

DEAD_LETTER_SUFFIX = ".dlq"
DAY_MS = 86_400_000
# Broker default.
KAFKA_DELETE_RETENTION_MS = DAY_MS
# Subtracted from the retention: clocks differ, and a transaction may have been open when its records got their times.
_MARGIN_MS = 3_600_000
DEAD_LETTER_MAX_BYTES = 1_310_720

# Ranges of item keys that live counts are published by. More would mean more records and partitions in each
# transaction of a partition of the listens, and there may be a thousand of those.
MAX_COUNT_RANGES = 4

KeyField = Literal["user_id", "item_id", "version", "worker", "count_part", "counted_partition", "total_part"]
_PARTITION_SETTINGS = {
    "user_id": "topics.user_partitions",
    "count_part": "topics.user_partitions",
    "item_id": "topics.item_partitions",
}
ProblemCode = Literal["missing", "wrong_partitions", "not_copartitioned", "not_compacted"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """Required properties of one topic."""

    name: str
    key: KeyField
    value_model: type[Record] | None
    partitions: int
    compacted: bool = False
    config: Mapping[str, str] = field(default_factory=dict)
    dead_letters: str | None = None
    partitioner: PartitionerName = DEFAULT_PARTITIONER

    def partition_of(self, key: bytes) -> int:
        """Return the partition in which records of a key must lie."""
        return partition_of(key, self.partitions, self.partitioner)


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of one installation, by content."""

    listens: TopicSpec
    session_starts: TopicSpec
    candidates: TopicSpec
    catalog_items: TopicSpec
    item_sids: TopicSpec
    user_state_changelog: TopicSpec
    user_erasures: TopicSpec
    live_segments: TopicSpec
    live_listeners: TopicSpec
    live_states: TopicSpec
    generations: TopicSpec
    generation_reports: TopicSpec
    item_counts: TopicSpec
    item_count_changes: TopicSpec
    item_count_totals: TopicSpec
    dead_letters: tuple[TopicSpec, ...]

    def __iter__(self) -> Iterator[TopicSpec]:
        yield from (self.listens, self.session_starts, self.candidates, self.catalog_items, self.item_sids)
        yield from (self.user_state_changelog, self.user_erasures)
        yield from (self.item_counts, self.item_count_changes, self.item_count_totals)
        yield from (self.live_segments, self.live_listeners, self.live_states)
        yield from (self.generations, self.generation_reports)
        yield from self.dead_letters


@dataclass(frozen=True, slots=True)
class TopicState:
    """Actual properties of one topic; all but the partitions are None if the broker does not report them."""

    partitions: int
    cleanup_policy: str | None
    topic_id: str | None = None
    delete_retention_ms: int | None = None

    @property
    def removals_kept_ms(self) -> int:
        """How long a reader may be offline without missing a tombstone: Kafka's retention less an hour or a tenth."""
        kept_ms = KAFKA_DELETE_RETENTION_MS if self.delete_retention_ms is None else self.delete_retention_ms
        return kept_ms - min(_MARGIN_MS, kept_ms // 10)


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """One difference between a Kafka cluster and the contract, and what to do about it."""

    topic: str
    code: ProblemCode
    detail: str
    action: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.detail}; {self.action}"


class TopicAdmin(Protocol):
    """Describes and creates topics of one Kafka cluster."""

    def describe(self, names: Collection[str]) -> dict[str, TopicState]:
        """Describe the named topics that exist."""

    def create(self, specs: Sequence[TopicSpec], replication_factor: int) -> None:
        """Create topics that do not exist yet; one created in the meantime is left unchanged."""

    def close(self) -> None:
        """Close the connection."""


def build_topics(settings: TopicSettings) -> Topics:
    """Build the topic specs of an installation; names include the prefix."""
    users, items, prefix = settings.user_partitions, settings.item_partitions, settings.prefix
    dead_letter_config = {
        "retention.ms": str(settings.dead_letter_retention_days * DAY_MS),
        # The source's largest record must fit together with our headers.
        "max.message.bytes": str(DEAD_LETTER_MAX_BYTES),
    }
    # A worker that was offline for longer could miss a tombstone and keep deleted data.
    compacted_config = {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAY_MS)}
    # Only closed segments are compacted, and a quiet partition closes none by size. `max.compaction.lag.ms` bounds how
    # long an erased user's data stays readable: by default a broker compacts only once half of a log is superseded.
    user_config = {**compacted_config, "segment.ms": "3600000", "max.compaction.lag.ms": str(DAY_MS)}
    # Few keys, overwritten every few seconds.
    counts_config = {**compacted_config, "segment.ms": "3600000", "segment.bytes": str(64 << 20)}
    # Only closed segments are compacted, and every worker reads all totals when it starts.
    totals_config = {**counts_config, "segment.bytes": str(16 << 20)}
    # Read within seconds, or once the workers are back after an outage.
    changes_config = {"retention.ms": str(7 * DAY_MS)}
    ranges = min(users, MAX_COUNT_RANGES)

    def source(
        name: str, key: KeyField, model: type[Record], partitions: int, config: Mapping[str, str] | None = None
    ) -> TopicSpec:
        full, compacted, config = prefix + name, config is not None, config or {}
        dead_letters = full + DEAD_LETTER_SUFFIX
        return TopicSpec(full, key, model, partitions, compacted, config, dead_letters, settings.partitioner)

    sources = (
        source("listen-events.v1", "user_id", Listen, users),
        source("session-starts.v1", "user_id", SessionStart, users),
        source("catalog-items.v1", "item_id", CatalogItem, items, compacted_config),
        # Compacted, not deleted: a reader that replays old listens must also see the erasure.
        source("user-erasures.v1", "user_id", UserErasure, users, user_config),
        # Item partitions: events of a live item and its catalogue events must be handled by the same worker.
        source("live-segments.v1", "item_id", LiveSegment, items),
        source("live-listeners.v1", "item_id", LiveListeners, items),
    )
    listens, session_starts, catalog_items, user_erasures, live_segments, live_listeners = sources
    return Topics(
        listens=listens,
        session_starts=session_starts,
        candidates=TopicSpec(
            prefix + "candidates.v1", "user_id", CandidateSet, users, partitioner=settings.partitioner
        ),
        catalog_items=catalog_items,
        # Written by us alone, and read whole: it keeps its partitions if the producers of the items change theirs.
        item_sids=TopicSpec(prefix + "item-sids.v1", "item_id", ItemSids, items, True, compacted_config),
        user_state_changelog=TopicSpec(
            prefix + "user-state-changelog.v1",
            "user_id",
            None,
            users,
            True,
            user_config,
            partitioner=settings.partitioner,
        ),
        user_erasures=user_erasures,
        live_segments=live_segments,
        live_listeners=live_listeners,
        # Restored with the partitions of the catalogue events.
        live_states=TopicSpec(
            prefix + "live-states.v1",
            "item_id",
            None,
            items,
            True,
            compacted_config,
            partitioner=settings.partitioner,
        ),
        # One partition: all readers then agree on the last order.
        generations=TopicSpec(prefix + "generations.v1", "version", Generation, 1, True, compacted_config),
        generation_reports=TopicSpec(
            prefix + "generation-reports.v1", "worker", GenerationReport, 1, True, compacted_config
        ),
        # How far each partition of the listens is counted, in the partition of the same number.
        item_counts=TopicSpec(prefix + "item-counts.v1", "count_part", None, users, True, counts_config),
        # Equal counts: the totals of a range are made from the changes in the partition of the same number.
        item_count_changes=TopicSpec(
            prefix + "item-count-changes.v1", "counted_partition", None, ranges, False, changes_config
        ),
        item_count_totals=TopicSpec(prefix + "item-count-totals.v1", "total_part", None, ranges, True, totals_config),
        dead_letters=tuple(
            TopicSpec(spec.name + DEAD_LETTER_SUFFIX, spec.key, None, spec.partitions, False, dead_letter_config)
            for spec in sources
        ),
    )


def create_topics(admin: TopicAdmin, specs: Iterable[TopicSpec], replication_factor: int = -1) -> list[str]:
    """Create the missing topics; existing ones are never changed.

    Args:
        admin: Connection to Kafka.
        specs: Topics that must exist.
        replication_factor: Replicas of new topics; -1 for the cluster's default.

    Returns:
        Names of the created topics.

    Raises:
        TopicError: The broker refused to create one.
    """
    wanted = list(specs)
    existing = admin.describe([spec.name for spec in wanted])
    missing = [spec for spec in wanted if spec.name not in existing]
    if missing:
        admin.create(missing, replication_factor)
    return [spec.name for spec in missing]


def check_topics(admin: TopicAdmin, specs: Iterable[TopicSpec]) -> list[TopicProblem]:
    """Compare a Kafka cluster with the contract and return every difference."""
    wanted = list(specs)
    existing = admin.describe([spec.name for spec in wanted])
    problems: list[TopicProblem] = []
    for spec in wanted:
        state = existing.get(spec.name)
        problems.extend([_missing(spec)] if state is None else _differences(spec, state))
    counts = {spec.name: existing[spec.name].partitions for spec in wanted if _is_copartitioned(spec, existing)}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        detail = f"topics keyed by user_id must have equal partition counts, got {found}"
        action = "recreate the differing ones with one count: one worker must handle a listener's state and sessions"
        problems.append(TopicProblem(min(counts), "not_copartitioned", detail, action))
    return problems


def require_topics(admin: TopicAdmin, specs: Iterable[TopicSpec]) -> None:
    """Raise if a Kafka cluster does not match the contract.

    Args:
        admin: Connection to Kafka.
        specs: Required topics.

    Raises:
        TopicError: Lists every difference and what to do about it.
    """
    problems = check_topics(admin, specs)
    if problems:
        raise TopicError(in_one_line(problems))


def in_one_line(problems: Sequence[TopicProblem]) -> str:
    """Format the problems found by `check_topics` in one line; topics with the same problem are grouped."""
    alike: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        alike.setdefault((problem.detail, problem.action), []).append(problem.topic)
    return "; ".join(f"{', '.join(names)}: {detail}; {action}" for (detail, action), names in alike.items())


def _is_copartitioned(spec: TopicSpec, existing: Mapping[str, TopicState]) -> bool:
    # Dead letters are read by operators and replays, never joined.
    is_dead_letters = spec.name.endswith(DEAD_LETTER_SUFFIX)
    return spec.key in ("user_id", "count_part") and not is_dead_letters and spec.name in existing


def _missing(spec: TopicSpec) -> TopicProblem:
    detail = f"expected a topic with {spec.partitions} partitions, got none"
    return TopicProblem(spec.name, "missing", detail, "run `sidestream topics create`")


def _differences(spec: TopicSpec, state: TopicState) -> Iterator[TopicProblem]:
    if state.partitions != spec.partitions:
        detail = f"expected {spec.partitions} partitions, got {state.partitions}"
        action = "delete the topic and run `sidestream topics create`"
        if (setting := _PARTITION_SETTINGS.get(spec.key)) is not None:
            action = f"set {setting} = {state.partitions}, or {action}"
        yield TopicProblem(spec.name, "wrong_partitions", detail, action)
    if spec.compacted and state.cleanup_policy is not None and state.cleanup_policy != "compact":
        detail = f"expected cleanup.policy=compact, got {state.cleanup_policy!r}, which deletes old keys"
        yield TopicProblem(spec.name, "not_compacted", detail, "set cleanup.policy=compact on the topic")
