"""The topics: their names, keys, values, partition counts and policies, and the check that a Kafka agrees.

Topics keyed by `user_id`, and the counts made of them, are co-partitioned (equal partition counts, one partitioner),
because the state of a listener, the listens that change it and the session-starts that read it must meet in one worker.
Topics that hold the latest value of a key are compacted; a deleting changelog would lose listeners.
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
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.errors import TopicError

DEAD_LETTER_SUFFIX = ".dlq"
DAY_MS = 86_400_000
# What a broker does where nobody says otherwise.
KAFKA_DELETE_RETENTION_MS = DAY_MS
# Taken off the retention: clocks differ, and a transaction may have been open while its records got their times.
_MARGIN_MS = 3_600_000
DEAD_LETTER_MAX_BYTES = 1_310_720

KeyField = Literal["user_id", "item_id", "version", "worker", "count_part"]
_PARTITION_SETTINGS = {
    "user_id": "topics.user_partitions",
    "count_part": "topics.user_partitions",
    "item_id": "topics.item_partitions",
}
ProblemCode = Literal["missing", "wrong_partitions", "not_copartitioned", "not_compacted"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it must be."""

    name: str
    key: KeyField
    value_model: type[Record] | None
    partitions: int
    compacted: bool = False
    config: Mapping[str, str] = field(default_factory=dict)
    dead_letters: str | None = None


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of one installation, by what they carry."""

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
    dead_letters: tuple[TopicSpec, ...]

    def __iter__(self) -> Iterator[TopicSpec]:
        yield from (self.listens, self.session_starts, self.candidates, self.catalog_items, self.item_sids)
        yield from (self.user_state_changelog, self.user_erasures, self.item_counts)
        yield from (self.live_segments, self.live_listeners, self.live_states)
        yield from (self.generations, self.generation_reports)
        yield from self.dead_letters


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as a Kafka has it; all but the partitions are none where the broker cannot say."""

    partitions: int
    cleanup_policy: str | None
    topic_id: str | None = None
    delete_retention_ms: int | None = None

    @property
    def removals_kept_ms(self) -> int:
        """For how long a reader may be away and meets every removal: what Kafka keeps, less an hour or a tenth."""
        kept_ms = KAFKA_DELETE_RETENTION_MS if self.delete_retention_ms is None else self.delete_retention_ms
        return kept_ms - min(_MARGIN_MS, kept_ms // 10)


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """One way in which a Kafka differs from the contract, and what to do about it."""

    topic: str
    code: ProblemCode
    detail: str
    action: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.detail}; {self.action}"


class TopicAdmin(Protocol):
    """Sees and makes topics on one Kafka."""

    def describe(self, names: Collection[str]) -> dict[str, TopicState]:
        """Look up those of the named topics that exist."""

    def create(self, specs: Sequence[TopicSpec], replication_factor: int) -> None:
        """Make topics that do not exist yet; one that appeared meanwhile is left as it is."""

    def close(self) -> None:
        """Let go of the connection."""


def build_topics(settings: TopicSettings) -> Topics:
    """Say which topics an installation has.

    Args:
        settings: Prefix and sizes.

    Returns:
        The topics, names with the prefix.
    """
    users, items, prefix = settings.user_partitions, settings.item_partitions, settings.prefix
    dead_letter_config = {
        "retention.ms": str(settings.dead_letter_retention_days * DAY_MS),
        # The source's largest record comes back with our headers on top.
        "max.message.bytes": str(DEAD_LETTER_MAX_BYTES),
    }
    # A worker that was away longer than this could miss a tombstone and keep what was deleted.
    compacted_config = {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAY_MS)}
    # Only closed segments are compacted, and a quiet partition closes none by size. The last one bounds how long what
    # an erased user had stays readable: a broker compacts by itself only once half of a log is superseded.
    user_config = {**compacted_config, "segment.ms": "3600000", "max.compaction.lag.ms": str(DAY_MS)}
    # Few keys, written over every few seconds.
    counts_config = {**compacted_config, "segment.ms": "3600000", "segment.bytes": str(64 << 20)}

    def source(
        name: str, key: KeyField, model: type[Record], partitions: int, config: Mapping[str, str] | None = None
    ) -> TopicSpec:
        full, compacted, config = prefix + name, config is not None, config or {}
        return TopicSpec(full, key, model, partitions, compacted, config, dead_letters=full + DEAD_LETTER_SUFFIX)

    sources = (
        source("listen-events.v1", "user_id", Listen, users),
        source("session-starts.v1", "user_id", SessionStart, users),
        source("catalog-items.v1", "item_id", CatalogItem, items, compacted_config),
        # Compacted, not deleted: who reads old listens again must meet the erasure too.
        source("user-erasures.v1", "user_id", UserErasure, users, user_config),
        # Item partitions: what is said of a live item must meet its catalogue events in one worker.
        source("live-segments.v1", "item_id", LiveSegment, items),
        source("live-listeners.v1", "item_id", LiveListeners, items),
    )
    listens, session_starts, catalog_items, user_erasures, live_segments, live_listeners = sources
    return Topics(
        listens=listens,
        session_starts=session_starts,
        candidates=TopicSpec(prefix + "candidates.v1", "user_id", CandidateSet, users),
        catalog_items=catalog_items,
        item_sids=TopicSpec(prefix + "item-sids.v1", "item_id", ItemSids, items, True, compacted_config),
        user_state_changelog=TopicSpec(prefix + "user-state-changelog.v1", "user_id", None, users, True, user_config),
        user_erasures=user_erasures,
        live_segments=live_segments,
        live_listeners=live_listeners,
        live_states=TopicSpec(prefix + "live-states.v1", "item_id", None, items, True, compacted_config),
        # One partition: what was ordered last is then known to everybody.
        generations=TopicSpec(prefix + "generations.v1", "version", Generation, 1, True, compacted_config),
        generation_reports=TopicSpec(
            prefix + "generation-reports.v1", "worker", GenerationReport, 1, True, compacted_config
        ),
        # Each partition of the listens is counted in the partition of the same number.
        item_counts=TopicSpec(prefix + "item-counts.v1", "count_part", None, users, True, counts_config),
        dead_letters=tuple(
            TopicSpec(spec.name + DEAD_LETTER_SUFFIX, spec.key, None, spec.partitions, False, dead_letter_config)
            for spec in sources
        ),
    )


def create_topics(admin: TopicAdmin, specs: Iterable[TopicSpec], replication_factor: int = -1) -> list[str]:
    """Make the topics that are missing; existing ones are never changed.

    Args:
        admin: Connection to the Kafka.
        specs: Topics that must exist.
        replication_factor: Replicas of new topics; -1 for the cluster's default.

    Returns:
        Names of the topics that were made.

    Raises:
        TopicError: The broker refused one.
    """
    wanted = list(specs)
    existing = admin.describe([spec.name for spec in wanted])
    missing = [spec for spec in wanted if spec.name not in existing]
    if missing:
        admin.create(missing, replication_factor)
    return [spec.name for spec in missing]


def check_topics(admin: TopicAdmin, specs: Iterable[TopicSpec]) -> list[TopicProblem]:
    """Compare a Kafka with the contract.

    Args:
        admin: Connection to the Kafka.
        specs: Topics as they must be.

    Returns:
        Every difference; empty where the Kafka fits.
    """
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
        action = "recreate the odd ones with one count: a listener's state and sessions must meet in one worker"
        problems.append(TopicProblem(min(counts), "not_copartitioned", detail, action))
    return problems


def require_topics(admin: TopicAdmin, specs: Iterable[TopicSpec]) -> None:
    """Refuse to go on with a Kafka that does not fit the contract.

    Args:
        admin: Connection to the Kafka.
        specs: Topics as they must be.

    Raises:
        TopicError: With every difference and what to do about each.
    """
    problems = check_topics(admin, specs)
    if problems:
        raise TopicError(in_one_line(problems))


def in_one_line(problems: Sequence[TopicProblem]) -> str:
    """Tell problems with one breath: topics that share a fault are named together.

    Args:
        problems: What `check_topics` found.

    Returns:
        One line.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        alike.setdefault((problem.detail, problem.action), []).append(problem.topic)
    return "; ".join(f"{', '.join(names)}: {detail}; {action}" for (detail, action), names in alike.items())


def _is_copartitioned(spec: TopicSpec, existing: Mapping[str, TopicState]) -> bool:
    # Dead letters are read by people and by replay, never joined.
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
        detail = f"expected cleanup.policy=compact, got {state.cleanup_policy!r}: old keys would be deleted"
        yield TopicProblem(spec.name, "not_compacted", detail, "set cleanup.policy=compact on the topic")
