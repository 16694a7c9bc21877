"""Settings of generations: where pairs lie, and how gently a new one is prepared beside the one that serves."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class GenerationSettings(BaseModel):
    """Preparing another tokenizer version and model while the present ones serve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path | None = Field(
        default=None,
        description="Folder of pair folders, the same on all workers: what `sidestream tokenizer rollout` may name. "
        "None: only the pair of `artifacts` can serve.",
    )
    worker_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="This worker's name in its reports; must differ from all others'. None: host and process.",
    )
    # 16 items take 4 ms: with more, a session's thread waits for the interpreter's lock again and again (5 ms each).
    rewrite_batch: int = Field(default=16, ge=1, le=5_000, description="Items tokenized anew in one go.")
    rewrite_rest: float = Field(
        default=3.0, ge=0, description="Rest between them, in multiples of the time that they took."
    )
    fill_batch: int = Field(
        default=64, ge=1, description="Records at once while the catalogue of another version fills."
    )
    fill_rest: float = Field(
        default=2.0, ge=0, description="Rest between them, in multiples of the time that they took."
    )
    standby_gap_ms: int = Field(
        default=1_000, ge=1, description="Shortest time between two snapshots of a catalogue that does not serve."
    )
    retry_s: float = Field(default=5.0, gt=0, description="When a pair that was refused is tried again.")
    report_s: float = Field(
        default=2.0,
        gt=0,
        description="How often workers report while a rollout is under way; those silent longer than "
        "three times this count as gone.",
    )
