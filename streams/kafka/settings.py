"""Settings of the Kafka clients; kept out of `clients`, which imports three client libraries."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sidestream.streams.kafka.security.settings import SecuritySettings

BrokerKind = Literal["kafka", "embedded", "external"]


class KafkaSettings(BaseModel):
    """Address of Kafka and behaviour of its clients."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap: str | None = Field(
        default=None, description="host:port[,host:port…] of an existing Kafka; unset: the local broker is used."
    )
    kind: BrokerKind = Field(
        default="external", description="Kind of broker at that address; set by the code that starts one."
    )
    client_id: str = Field(default="sidestream", min_length=1, description="Name of our clients in the broker's logs.")
    client_rack: str | None = Field(
        default=None,
        min_length=1,
        description="Rack or zone of this machine, as the brokers name theirs (broker.rack): consumers then read from "
        "the nearest replica, if the brokers have a replica.selector.class; unset: always from the leader.",
    )
    request_timeout_ms: int = Field(default=30_000, ge=1_000, description="Limit for one request to a broker.")
    fetch_max_wait_ms: int = Field(
        default=500,
        ge=1,
        description="How long a broker holds an empty fetch; a real broker answers as soon as there is data.",
    )
    session_timeout_ms: int = Field(
        default=10_000, ge=1_000, description="A group member without a heartbeat for this long loses its partitions."
    )
    heartbeat_interval_ms: int = Field(
        default=500,
        ge=100,
        description="Interval between heartbeats of group members: so long a worker may not know of a rebalance, which "
        "waits for all of them.",
    )
    security: SecuritySettings = Field(default=SecuritySettings(), description="Security of the connection.")

    @model_validator(mode="after")
    def _requests_outlast_sessions(self) -> Self:
        # A request to join waits for members whose sessions have to end first.
        if self.session_timeout_ms > self.request_timeout_ms:
            msg = (
                f"expected kafka.session_timeout_ms of at most kafka.request_timeout_ms = {self.request_timeout_ms}, "
                f"got {self.session_timeout_ms}; lower the one or raise the other"
            )
            raise ValueError(msg)
        return self
