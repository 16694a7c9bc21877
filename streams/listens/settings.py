"""Settings of the lanes: how listens are batched, how the local tables are sized, how Faust holds the group."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TableSettings(BaseModel):
    """Size of the local RocksDB; there is one database for each assigned partition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_cache_bytes: int = Field(
        default=64 << 20, ge=1 << 20, description="Block cache, shared by all partitions of a worker."
    )
    write_buffer_bytes: int = Field(
        default=8 << 20, ge=1 << 20, description="Memtable of one partition; two may exist at a time."
    )
    bloom_bits: int = Field(default=10, ge=0, description="Bloom filter bits for each key; 0 for none.")
    max_open_files: int = Field(default=128, ge=16, description="File handles of one partition.")


class LaneSettings(BaseModel):
    """How the listen lane reads, folds and publishes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_ms: int = Field(
        default=100,
        ge=1,
        le=5_000,
        description=(
            "How long listens are collected before they are folded; more than 8 partitions take longer, 12.5 ms for "
            "each: a batch is a transaction in every partition."
        ),
    )
    max_batch_records: int = Field(
        default=4_000, ge=1, description="Listens of one partition that are folded and published together."
    )
    slice_ms: float = Field(
        default=2.0, gt=0, le=100, description="Work on listens before the event loop turns; small keeps sessions fast."
    )
    listen_share: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="Share of the time that listens keep while session-starts wait; the rest of it they stand back.",
    )
    fetch_bytes: int = Field(
        default=524_288, ge=1_024, description="Bytes of one partition in one fetch: bounds what a backlog can pile up."
    )
    changelog_batch_bytes: int = Field(
        default=524_288, ge=16_384, description="Producer batch; below the broker's max.message.bytes (1 MB)."
    )
    history_events: int = Field(
        default=512,
        ge=0,
        le=16_384,
        description=(
            "Listens that are kept of a user, at least, once they leave the recent 50: in blocks of 16 beside the "
            "state, about 24 bytes each. 0 for none."
        ),
    )
    guarantee: Literal["auto", "exactly_once", "at_least_once"] = Field(
        default="auto",
        description=(
            "exactly_once: transactions; at_least_once: idempotent folds, for a Kafka that grants no transactions; "
            "auto: exactly_once, but at_least_once on the embedded broker. The same for all workers of a group."
        ),
    )
    transaction_timeout_ms: int = Field(
        default=10_000, ge=1_000, description="After this long the broker aborts a transaction and fences its worker."
    )
    restore_batch_records: int = Field(default=5_000, ge=1, description="Changelog records in one bulk write.")
    commit_interval_ms: int = Field(
        default=1_000, ge=50, description="How often finished source offsets are committed to the group."
    )
    rebalance_timeout_ms: int = Field(
        default=30_000, ge=1_000, description="How long the group waits for a member to let go of its partitions."
    )
    erasure_keep_days: float = Field(
        default=7.0,
        ge=0,
        description="Watermarks of an erased user stay at least so long, to refuse late listens from before.",
    )
    erasure_sweep_s: float = Field(
        default=3_600.0, gt=0, description="How often watermarks that may go are looked for; the first time at once."
    )
    table: TableSettings = Field(default=TableSettings(), description="Size of the local tables.")
