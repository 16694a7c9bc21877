"""Settings of the listen lane: batching, delivery guarantee, local tables, and the consumer group's timing."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TableSettings(BaseModel):
    """Sizes of the local RocksDB databases, one for each assigned partition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_cache_bytes: int = Field(
        default=64 << 20, ge=1 << 20, description="Block cache, shared by all partitions of a worker."
    )
    write_buffer_bytes: int = Field(
        default=8 << 20, ge=1 << 20, description="Memtable of one partition; two may exist at a time."
    )
    bloom_bits: int = Field(default=10, ge=0, description="Bloom filter bits per key; 0 for no filter.")
    max_open_files: int = Field(default=128, ge=16, description="Open file handles of one partition.")
    purge_s: float = Field(
        default=21_600.0,
        ge=3,
        description=(
            "Within which superseded bytes, such as those of erased users, leave the files of a table in use; a "
            "smaller value rewrites the table more often."
        ),
    )


class LaneSettings(BaseModel):
    """Reading, folding and publishing of the listen lane."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_ms: int = Field(
        default=100,
        ge=1,
        le=5_000,
        description=(
            "How long listens are collected before they are folded; with more than 8 partitions 12.5 ms per partition, "
            "since a batch is one transaction in every partition."
        ),
    )
    max_batch_records: int = Field(
        default=4_000, ge=1, description="Listens of one partition that are folded and published together."
    )
    slice_ms: float = Field(
        default=2.0,
        gt=0,
        le=100,
        description="Work on listens before the event loop gets control, half of it while session-starts arrive; small "
        "values keep sessions fast.",
    )
    listen_share: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="Minimum share of the time for listens while session-starts wait; they pause for the rest.",
    )
    fetch_bytes: int = Field(
        default=524_288,
        ge=1_024,
        description="Bytes of one partition in one fetch; bounds the memory used under a backlog.",
    )
    changelog_batch_bytes: int = Field(
        default=524_288,
        ge=16_384,
        description="Size of a producer batch; must be below the broker's max.message.bytes (1 MB).",
    )
    history_events: int = Field(
        default=512,
        ge=0,
        le=16_384,
        description=(
            "Minimum number of a user's older listens to keep after they leave the most recent 50: stored in blocks of "
            "16 next to the state, about 24 bytes per listen. 0 keeps none."
        ),
    )
    guarantee: Literal["auto", "exactly_once", "at_least_once"] = Field(
        default="auto",
        description=(
            "exactly_once: transactions; at_least_once: idempotent folds, for a Kafka without transactions; auto: "
            "exactly_once, but at_least_once on the embedded broker. Must be the same for all workers of a group."
        ),
    )
    transaction_timeout_ms: int = Field(
        default=30_000,
        ge=1_000,
        description=(
            "The broker aborts a transaction that is open for longer; a transaction is up to five requests, each of "
            "which a busy broker may take seconds to answer."
        ),
    )
    standby_replicas: int = Field(
        default=0,
        ge=0,
        le=1,
        description=(
            "1: another worker keeps a copy of each partition's table current, so that a dead worker's users are "
            "answered again without a full restore, and so are those whose partitions move to a worker that joins; "
            "doubles disk use and changelog reads."
        ),
    )
    restore_batch_records: int = Field(default=5_000, ge=1, description="Changelog records in one bulk write.")
    commit_interval_ms: int = Field(
        default=1_000, ge=50, description="How often finished source offsets are committed to the group."
    )
    rebalance_timeout_ms: int = Field(
        default=30_000, ge=1_000, description="How long the group waits for a member to release its partitions."
    )
    erasure_keep_days: float = Field(
        default=7.0,
        ge=0,
        description="Minimum time to keep an erased user's watermarks, which reject late listens from before it.",
    )
    erasure_sweep_s: float = Field(
        default=3_600.0,
        gt=0,
        description="Interval between sweeps for removable watermarks; the first sweep starts at once.",
    )
    state_ttl_days: float | None = Field(
        default=None,
        gt=0,
        description=(
            "Remove the state of a user whose last listen is older than this, by its own time and by its Kafka "
            "timestamp; looked for every lane.erasure_sweep_s. Unset: never."
        ),
    )
    table_cleanup_s: float = Field(
        default=600.0,
        ge=0,
        le=86_400,
        description="How long the local table of a partition that has moved to another worker is kept.",
    )
    table: TableSettings = Field(default=TableSettings(), description="Sizes of the local tables.")
