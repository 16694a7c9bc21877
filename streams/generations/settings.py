"""Settings of generations: where pairs are stored, and how much load preparing the next one may add."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class GenerationSettings(BaseModel):
    """Preparing another tokenizer version and model while the current ones serve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path | None = Field(
        default=None,
        description="Folder of pair folders, the same on all workers; `sidestream tokenizer rollout` names a pair in "
        "it. None: only the pair of `artifacts` can serve.",
    )
    worker_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="This worker's name in its reports; must differ from all others'. None: host and process.",
    )
    # 16 items take 4 ms: with more, a session's thread waits for the interpreter lock repeatedly (5 ms each time).
    rewrite_batch: int = Field(default=16, ge=1, le=5_000, description="Items per batch when items are retokenized.")
    rewrite_rest: float = Field(
        default=3.0, ge=0, description="Rest between these batches, in multiples of the time that the batch took."
    )
    fill_batch: int = Field(
        default=64, ge=1, description="Records per batch while the catalogue of another version is being filled."
    )
    fill_rest: float = Field(
        default=2.0, ge=0, description="Rest between these batches, in multiples of the time that the batch took."
    )
    standby_gap_ms: int = Field(
        default=1_000, ge=1, description="Shortest time between two snapshots of a catalogue that does not serve."
    )
    retry_s: float = Field(default=5.0, gt=0, description="After this time, a pair that failed to load is tried again.")
    report_s: float = Field(
        default=2.0,
        gt=0,
        description="How often workers report during a rollout; a worker that is silent for more than three times "
        "this counts as gone.",
    )
