"""Settings of the topics, and the limits of their values."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

PartitionerName = Literal["murmur2", "crc32", "fnv1a"]
DEFAULT_PARTITIONER: Final[PartitionerName] = "murmur2"


class TopicSettings(BaseModel):
    """Names and sizes of the topics, and the limits of their records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = Field(
        default="", max_length=100, pattern=r"^[a-zA-Z0-9._-]*$", description="Prefix of every topic name."
    )
    user_partitions: int = Field(
        default=8, ge=1, description="Partitions of every topic keyed by user_id; permanent once there is state."
    )
    item_partitions: int = Field(default=4, ge=1, description="Partitions of every topic keyed by item_id.")
    partitioner: PartitionerName = Field(
        default=DEFAULT_PARTITIONER,
        description="How all producers map keys to partitions: murmur2 (Java, kafka-python, kafkajs), crc32 (the "
        "default of librdkafka) or fnv1a (Sarama); permanent once there is state.",
    )
    replication_factor: int = Field(
        default=-1, ge=-1, le=32_767, description="Replicas of topics that we create; -1: the cluster's default."
    )
    dead_letter_retention_days: int = Field(default=14, ge=1, description="How long dead letters are kept.")
    max_value_bytes: int = Field(default=262_144, ge=1_024, description="Larger values go to the dead letters.")
    max_future_ms: int = Field(
        default=600_000, ge=0, description="How far `at` may be after the record's Kafka timestamp."
    )
    max_past_ms: int | None = Field(
        default=None, ge=0, description="How far `at` may be before the record's Kafka timestamp; unset: no limit."
    )
