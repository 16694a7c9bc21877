"""`manifest.json` of a log folder: source, licence, clock, counts, cuts, split and hashes of the files."""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

FORMAT_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Clock(_Part):
    """Whether the times of the folder are real, and what they mean if not."""

    kind: Literal["real", "synthetic"] = Field(description="Synthetic: order is real or simulated, distances are not.")
    statement: str = Field(description="How `at` was determined, in words.")


class FileEntry(_Part):
    """One file of the folder."""

    bytes: int = Field(ge=0, description="Size in bytes.")
    lines: int = Field(ge=0, description="Rows.")
    sha256: str = Field(description="Hash of the whole file.")


class Counts(_Part):
    """Sizes of the folder's content."""

    items: int = Field(ge=0, description="Distinct items ever published.")
    removals: int = Field(ge=0, description="Rows that remove an item.")
    listens: int = Field(ge=0, description="Rows of events/listens.jsonl.")
    sessions: int = Field(ge=0, description="Rows of events/sessions.jsonl.")
    listeners: int = Field(ge=0, description="Distinct user ids among listens and session-starts.")
    heldout_test: int = Field(ge=0, description="Listens held out for the test, only in heldout.jsonl.")
    heldout_valid: int = Field(ge=0, description="Listens held out for validation; also in listens.jsonl.")


class Split(_Part):
    """How the folder is split into training, validation and test."""

    protocol: Literal["none", "leave_one_out", "last_session", "global_time"] = Field(description="The rule by name.")
    statement: str = Field(description="The rule in words.")


class Manifest(_Part):
    """The whole manifest. Nothing in it depends on when or where it was written."""

    format_version: Literal[1] = Field(default=1, description="Version of the folder's layout.")
    name: str = Field(description="Short name for display.")
    source: str = Field(description="Where the data comes from.")
    licence: str = Field(description="Terms under which it may be used.")
    events_are: str = Field(description="What one row of listens.jsonl is; to be stated with every reported number.")
    clock: Clock
    first_at: int | None = Field(description="Earliest `at` of any row; null if the folder is empty.")
    last_at: int | None = Field(description="Latest `at` of any row.")
    cuts: dict[str, int] = Field(default_factory=dict, description="Cut times by name, epoch milliseconds.")
    split: Split
    counts: Counts
    files: dict[str, FileEntry] = Field(description="Files by path inside the folder.")
    notes: tuple[str, ...] = Field(default=(), description="Anomalies found, and what was omitted or filled in.")
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="Settings used to create the folder.")

    @property
    def identity(self) -> str:
        """Identity of the content: 16 hex digits over the hashes of all files."""
        lines = [f"{name} {entry.sha256}\n" for name, entry in sorted(self.files.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    def to_json(self) -> bytes:
        """Encode the manifest as indented UTF-8 JSON."""
        return self.model_dump_json(indent=2).encode() + b"\n"
