"""Origin record: the source topic of the states, stored under a reserved key in each changelog partition.

A state's watermark is an offset of one source topic with one partition count. On a topic that was recreated or
repartitioned, the same offset means something else, and new listens would be taken for duplicates. So each changelog
partition contains a record of the source of its states, and of the hash that maps users to partitions. A restore brings
it into the local database together with the states, where `source_check` compares it.

Why not with the group's committed offsets: Kafka deletes those with their topic, and a week after the group became
inactive; a compacted record lives exactly as long as the states.

Reserved keys begin with two bytes 0xff, which cannot occur in a UTF-8 user id.

Source: KIP-516 (topic ids).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.settings import DEFAULT_PARTITIONER, PartitionerName
from sidestream.streams.contracts.topics import TopicState
from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import Clients

RESERVED = b"\xff\xff"
ORIGIN_KEY = RESERVED + b"origin"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Origin:
    """Source of the states of a changelog partition.

    Attributes:
        source_topic: Topic name.
        source_id: Topic id; None if the broker has no topic ids.
        num_partitions: Number of partitions over which its keys are distributed.
        carried: Whether states were carried over from another source, so that this one alone cannot reproduce them.
        partitioner: Hash that maps the users to the partitions; None in records of earlier releases.
    """

    source_topic: str
    source_id: str | None
    num_partitions: int
    carried: bool = False
    partitioner: PartitionerName | None = None

    def partition_of(self, user: bytes) -> int:
        """Return the partition in which a user's state lies."""
        return partition_of(user, self.num_partitions, self.partitioner or DEFAULT_PARTITIONER)

    def to_bytes(self) -> bytes:
        """Return the record's value."""
        fields = {"format": _FORMAT, "source_topic": self.source_topic, "source_id": self.source_id}
        fields |= {"num_partitions": self.num_partitions, "carried": self.carried}
        if self.partitioner is not None:
            fields["partitioner"] = self.partitioner
        return json.dumps(fields).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> "Origin":
        """Decode a record's value.

        Args:
            value: Value written by `to_bytes`.

        Returns:
            The origin.

        Raises:
            LaneError: The value is damaged or from a later release.
        """
        try:
            fields = json.loads(value)
            partitioner = fields.get("partitioner")
            if fields["format"] == _FORMAT and partitioner in (None, *get_args(PartitionerName)):
                source_id = fields["source_id"]
                return cls(
                    str(fields["source_topic"]),
                    None if source_id is None else str(source_id),
                    int(fields["num_partitions"]),
                    bool(fields["carried"]),
                    partitioner,
                )
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
        msg = (
            f"changelog: expected an origin record of format {_FORMAT}, got {value[:120]!r}; run the release "
            "that wrote it"
        )
        raise LaneError(msg)

    def differences(self, now: "Origin") -> list[str]:
        """Compare with the current source.

        Args:
            now: Current source in Kafka.

        Returns:
            Differences, each as expected and got; empty for the same source. An unknown topic id or partitioner equals
            any other.
        """
        found = []
        if self.source_topic != now.source_topic:
            found.append(f"source topic renamed: expected {self.source_topic}, got {now.source_topic}")
        elif self.source_id and now.source_id and self.source_id != now.source_id:
            found.append(f"source topic recreated: expected topic id {self.source_id}, got {now.source_id}")
        if self.num_partitions != now.num_partitions:
            found.append(f"repartitioned: expected {self.num_partitions} partitions, got {now.num_partitions}")
        if self.partitioner and now.partitioner and self.partitioner != now.partitioner:
            found.append(
                f"topics.partitioner changed: expected {self.partitioner}, by which users were distributed, got "
                f"{now.partitioner}"
            )
        return found


def is_reserved(key: bytes | None) -> bool:
    """Return whether a changelog record has a reserved key, that is, does not belong to a user."""
    return key is not None and key.startswith(RESERVED)


def describe_topics(clients: Clients, *names: str) -> Mapping[str, TopicState]:
    """Describe topics; blocks for some 50 ms.

    Args:
        clients: Kafka client factory.
        *names: Topic names.

    Returns:
        State by name; missing topics are left out.

    Raises:
        TopicError: Kafka does not answer.
    """
    admin = KafkaTopicAdmin(clients)
    try:
        return admin.describe(names)
    finally:
        admin.close()
