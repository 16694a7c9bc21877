"""Settings of the Kafka clients; apart from the factory of clients, which imports three client libraries."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sidestream.streams.kafka.security.settings import SecuritySettings

BrokerKind = Literal["kafka", "embedded", "external"]


class KafkaSettings(BaseModel):
    """Where Kafka is and how its clients behave."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap: str | None = Field(
        default=None, description="host:port[,host:port…] of an existing Kafka; none: the local broker is used."
    )
    kind: BrokerKind = Field(default="external", description="What answers there; set by whoever starts a broker.")
    client_id: str = Field(default="sidestream", min_length=1, description="Name of our clients in the broker's logs.")
    request_timeout_ms: int = Field(default=30_000, ge=1_000, description="Limit for one request to a broker.")
    fetch_max_wait_ms: int = Field(
        default=500, ge=1, description="How long a broker holds an empty fetch; real brokers wake on data anyway."
    )
    session_timeout_ms: int = Field(
        default=10_000, ge=1_000, description="A group member that is silent this long loses its partitions."
    )
    heartbeat_interval_ms: int = Field(default=3_000, ge=100, description="Heartbeats of group members.")
    security: SecuritySettings = Field(default=SecuritySettings(), description="Security of the connection.")
