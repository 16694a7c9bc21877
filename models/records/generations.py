"""`generations.v1` and `generation-reports.v1`: active tokenizer versions, and the workers' progress with them.

Both topics are compacted and have one partition, so that there is a total order of all records; times are informative
only. Only `sidestream tokenizer …` writes the first, only workers the second.
"""

from typing import Literal

from pydantic import Field

from sidestream.models.records.base import AtMs, Id, Record

# preparing: items get a SID under it. active: it is served. standby: kept loaded, for a rollback. retired: removed.
Phase = Literal["preparing", "active", "standby", "retired"]
# Of workers: loading to serving, or refused. Of partitions: all values have the version, or none has it any more.
Progress = Literal["loading", "filling", "ready", "refused", "held", "dropped"]


class Generation(Record):
    """Desired state of one tokenizer version and its pair, set by the operator; the key is the version.

    The record of phase `active` that was written last is the one that is served.
    """

    version: Id = Field(description="Tokenizer version.")
    pair: Id = Field(description="Name of the pair folder.")
    phase: Phase
    may_miss: int = Field(
        default=0, ge=0, description="Number of items that may have no SID under it when serving starts."
    )
    at_once: bool = Field(default=False, description="Serve without comparing the catalogues first: for a rollback.")
    at: AtMs = Field(description="When it was ordered. Epoch milliseconds UTC.")


class GenerationReport(Record):
    """Report of one worker, or of the agent of one partition, on a generation; a null value withdraws it."""

    version: Id = Field(description="The reported tokenizer version.")
    progress: Progress
    worker: Id | None = Field(default=None, description="Name of the worker; null for a partition.")
    role: str | None = Field(default=None, description="Role of the worker.")
    serving: str | None = Field(default=None, description="Tokenizer version that the worker currently serves.")
    missing: int = Field(
        default=0, ge=0, description="Number of items that it serves now and could not serve under the version."
    )
    detail: str = Field(default="", description="Reason of a refusal.")
    partition: int | None = Field(default=None, ge=0, description="Partition of the catalogue; null for a worker.")
    at: AtMs = Field(description="When it was written. Epoch milliseconds UTC.")

    @property
    def key(self) -> str:
        """The record's key: a worker's latest report replaces its previous ones, as does a partition's per version."""
        return worker_key(self.worker or "") if self.partition is None else partition_key(self.version, self.partition)


def worker_key(worker: str) -> str:
    """Return the key of a worker's reports."""
    return f"worker/{worker}"


def partition_key(version: str, partition: int) -> str:
    """Return the key of the reports of a catalogue partition on one version."""
    return f"partition/{version}/{partition}"
