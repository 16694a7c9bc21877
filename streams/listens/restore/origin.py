"""What states were folded from, kept beside them: one record under a reserved key in each changelog partition.

A state's watermark is an offset of one source topic with one partition count. On a topic that was recreated, or that
deals its keys out anew, the same number means something else, and new listens would be taken for repeats. So each
changelog partition holds, like any user, a record of the source that its states come from. Restoring brings it into
the local database with the states, which is where `admission` compares it.

Why not with the group's committed offsets: Kafka deletes those with the topic that they belong to, and a week after
the group went to sleep; a compacted record lives exactly as long as the states do.

Reserved keys begin with two bytes of 0xff, which no UTF-8 user id can hold.

Source: KIP-516 (topic ids).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sidestream.streams.contracts.topics import TopicState
from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import Clients

RESERVED = b"\xff\xff"
ORIGIN_KEY = RESERVED + b"origin"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of the states of a changelog partition.

    Attributes:
        source_topic: Its name.
        source_id: Its topic id; none on a broker that gives none.
        num_partitions: How many partitions its keys were dealt out to.
        carried: Whether states were carried over from another source, so that this one alone does not make them.
    """

    source_topic: str
    source_id: str | None
    num_partitions: int
    carried: bool = False

    def to_bytes(self) -> bytes:
        """Return the record's value."""
        fields = {"format": _FORMAT, "source_topic": self.source_topic, "source_id": self.source_id}
        return json.dumps({**fields, "num_partitions": self.num_partitions, "carried": self.carried}).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> "Origin":
        """Read a record's value.

        Args:
            value: What `to_bytes` made.

        Returns:
            The origin.

        Raises:
            LaneError: It is damaged or from a later release.
        """
        try:
            fields = json.loads(value)
            if fields["format"] == _FORMAT:
                source_id = fields["source_id"]
                return cls(
                    str(fields["source_topic"]),
                    None if source_id is None else str(source_id),
                    int(fields["num_partitions"]),
                    bool(fields["carried"]),
                )
        except (ValueError, TypeError, KeyError):
            pass
        msg = (
            f"changelog: expected a record of its origin of format {_FORMAT}, got {value[:120]!r}; run the release "
            "that wrote it"
        )
        raise LaneError(msg)

    def differences(self, now: "Origin") -> list[str]:
        """Compare with the source as it is now.

        Args:
            now: The source as Kafka has it.

        Returns:
            What differs, each as expected and got; empty for the same source. An unknown id equals any.
        """
        found = []
        if self.source_topic != now.source_topic:
            found.append(f"source topic renamed: expected {self.source_topic}, got {now.source_topic}")
        elif self.source_id and now.source_id and self.source_id != now.source_id:
            found.append(f"source topic recreated: expected topic id {self.source_id}, got {now.source_id}")
        if self.num_partitions != now.num_partitions:
            found.append(f"repartitioned: expected {self.num_partitions} partitions, got {now.num_partitions}")
        return found


def is_reserved(key: bytes | None) -> bool:
    """Tell whether a changelog record is about the changelog, not a user's.

    Args:
        key: Its key.

    Returns:
        True for the records of this module.
    """
    return key is not None and key.startswith(RESERVED)


def look_up(clients: Clients, *names: str) -> Mapping[str, TopicState]:
    """Ask Kafka for topics as they are now; blocking, some 50 ms.

    Args:
        clients: The Kafka.
        *names: Topics.

    Returns:
        Those that exist, by name.

    Raises:
        TopicError: Kafka does not answer.
    """
    admin = KafkaTopicAdmin(clients)
    try:
        return admin.describe(names)
    finally:
        admin.close()
