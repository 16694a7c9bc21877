"""`generations.v1` and `generation-reports.v1`: which tokenizer versions live, and how far workers have come with them.

Both topics are compacted and have one partition, so that their order is the order of all that was ever written; times
are for people. Only `sidestream tokenizer …` writes the first, only workers the second.
"""

from typing import Literal

from pydantic import Field

from sidestream.models.records.base import AtMs, Id, Record

# preparing: items get a SID under it. active: it serves. standby: kept warm, the way back. retired: it goes.
Phase = Literal["preparing", "active", "standby", "retired"]
# Of workers: loading to serving, or refused. Of partitions: all values hold the version, or none does any more.
Progress = Literal["loading", "filling", "ready", "refused", "held", "dropped"]


class Generation(Record):
    """One tokenizer version and its pair, as the operator wants it; the key is the version.

    The record of phase `active` that was written last is the one that serves.
    """

    version: Id = Field(description="Tokenizer version.")
    pair: Id = Field(description="Name of its pair folder.")
    phase: Phase
    may_miss: int = Field(default=0, ge=0, description="Items that may have no SID under it when it begins to serve.")
    at_once: bool = Field(default=False, description="Serve without comparing the catalogues first: the way back.")
    at: AtMs = Field(description="When it was ordered. Epoch milliseconds UTC.")


class GenerationReport(Record):
    """What one worker, or the agent of one partition, says of a generation; a null value takes it back."""

    version: Id = Field(description="The tokenizer version that it is about.")
    progress: Progress
    worker: Id | None = Field(default=None, description="Name of the worker; null for a partition.")
    role: str | None = Field(default=None, description="Of the worker.")
    serving: str | None = Field(default=None, description="Tokenizer version that the worker serves now.")
    missing: int = Field(default=0, ge=0, description="Items that it serves now and could not under the version.")
    detail: str = Field(default="", description="Why it refuses.")
    partition: int | None = Field(default=None, ge=0, description="Of the catalogue; null for a worker.")
    at: AtMs = Field(description="When it was written. Epoch milliseconds UTC.")

    @property
    def key(self) -> str:
        """The record's key: a worker's last word replaces the ones before, as does a partition's of a version."""
        return worker_key(self.worker or "") if self.partition is None else partition_key(self.version, self.partition)


def worker_key(worker: str) -> str:
    """Return the key of a worker's reports.

    Args:
        worker: Its name.

    Returns:
        The key.
    """
    return f"worker/{worker}"


def partition_key(version: str, partition: int) -> str:
    """Return the key of a partition's reports of one version.

    Args:
        version: Tokenizer version.
        partition: Of the catalogue.

    Returns:
        The key.
    """
    return f"partition/{version}/{partition}"
