"""What a replay position belongs to: the topics of one cluster, as they were created."""

from pydantic import BaseModel, ConfigDict, Field

from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import TopicError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import Clients


class Target(BaseModel):
    """Cluster and topics that a log is played onto."""

    model_config = ConfigDict(frozen=True)

    cluster: str = Field(description="Cluster id.")
    topics: dict[str, str | None] = Field(description="Topic ids by name; null where the broker has no topic ids.")

    def is_same(self, other: "Target") -> bool:
        """Whether what was played onto the other is on this one; an unknown topic id equals any other."""
        if (self.cluster, self.topics.keys()) != (other.cluster, other.topics.keys()):
            return False
        pairs = [(mine, other.topics[name]) for name, mine in self.topics.items()]
        return all(mine == theirs or None in (mine, theirs) for mine, theirs in pairs)


def read_target(clients: Clients, topics: Topics) -> Target:
    """Look up where a replay goes.

    Args:
        clients: Kafka clients.
        topics: Of this installation.

    Returns:
        The target.

    Raises:
        TopicError: Kafka does not answer, or a topic is missing.
    """
    names = [spec.name for spec in (topics.catalog_items, topics.listens, topics.session_starts)]
    admin = KafkaTopicAdmin(clients)
    try:
        found, cluster = admin.describe(names), admin.cluster_id()
    finally:
        admin.close()
    if missing := [name for name in names if name not in found]:
        msg = (
            f"expected the topics {', '.join(missing)} at {clients.bootstrap}, got none; run `sidestream topics create`"
        )
        raise TopicError(msg)
    return Target(cluster=cluster, topics={name: found[name].topic_id for name in names})
