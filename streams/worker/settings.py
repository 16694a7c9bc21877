"""Settings of the worker as a whole."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["all", "recommend", "tokenize"]


class WatchdogSettings(BaseModel):
    """When a stuck worker is terminated; the exit codes are listed in `streams/worker/watch/watchdog.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shutdown_s: float = Field(default=15.0, gt=0, description="Longest shutdown; then exit code 71 (70 after a crash).")
    loop_blocked_s: float = Field(
        default=20.0, ge=2.0, description="Longest time without an iteration of the event loop; then exit code 72."
    )
    no_progress_s: float | None = Field(
        default=None,
        ge=2.0,
        description="How long work may wait without progress; then exit code 73. None: session timeout + transaction "
        "timeout + 10 s, because less would end workers that wait for a dead worker's session and transaction.",
    )
    ask_kafka_s: float = Field(
        default=2.0, gt=0, description="How often Kafka is polled for its liveness and the end offsets of the topics."
    )
    exits: bool = Field(default=True, description="False only reports on /livez: for debugging.")


class WorkerSettings(BaseModel):
    """What a worker does, and which group it belongs to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role = Field(
        default="all",
        description="all; or recommend and tokenize in separate workers, each role in its own consumer group. Do not "
        "mix all with the other two.",
    )
    app_id: str = Field(
        default="sidestream",
        min_length=1,
        max_length=200,
        pattern=r"^[a-zA-Z0-9._-]+$",
        description="Name of the consumer group and of the local state.",
    )
    instance: int | None = Field(
        default=None,
        ge=1,
        description="Number of this worker among several with one data_dir. None: the first whose folder is free.",
    )
    group_instance_id: str | None = Field(
        default=None,
        max_length=200,
        pattern=r"^[a-zA-Z0-9._-]+$",
        description="Makes the worker a static member of its group (KIP-345): after a restart within "
        "kafka.session_timeout_ms it gets its partitions back and the other workers keep theirs; until then nobody "
        "works on them. One id for each worker. None: a dynamic member, whose partitions move at once when it stops.",
    )
    clock: Literal["wall", "log"] = Field(
        default="wall",
        description="Clock for expiry and newness of items; log: time of the latest session-start, for old logs.",
    )
    broker_wait_s: float = Field(
        default=60.0, ge=0, description="How long to wait for a Kafka that does not answer before giving up."
    )
    watchdog: WatchdogSettings = Field(default=WatchdogSettings(), description="When a stuck worker is terminated.")

    @property
    def group_id(self) -> str:
        """The consumer group: roles in separate workers have separate groups."""
        return self.app_id if self.role == "all" else f"{self.app_id}-{self.role}"
