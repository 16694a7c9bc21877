"""`TopicAdmin` over the wire: describes and creates topics of a real broker, describes those of an embedded one."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAlreadyExistsError

from sidestream.streams.contracts.topics import TopicSpec, TopicState
from sidestream.streams.errors import TopicError
from sidestream.streams.kafka.clients import Clients

CREATE_TIMEOUT_MS = 30_000


class KafkaTopicAdmin:
    """Describes and creates topics with kafka-python.

    Args:
        clients: Kafka client factory.

    Raises:
        TopicError: No broker answers at the bootstrap address.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        try:
            self._admin = clients.admin()
        except KafkaError as error:
            msg = f"expected a Kafka at {clients.bootstrap}, got {error!r}; check kafka.bootstrap or start the broker"
            raise TopicError(msg) from error

    def describe(self, names: Collection[str]) -> dict[str, TopicState]:
        """Describe the topics that exist.

        Args:
            names: Topic names.

        Returns:
            State by name; missing topics are left out.

        Raises:
            TopicError: The broker did not answer.
        """
        try:
            # List all, then filter: describing a missing topic by name would create it on the embedded broker.
            found = [topic for topic in self._admin.describe_topics() if topic["name"] in names]
            counts = {topic["name"]: len(topic["partitions"]) for topic in found}
            ids = {topic["name"]: _topic_id(topic.get("topic_id")) for topic in found}
            configs = {} if self._clients.is_embedded or not counts else self._configs(list(counts))
        except KafkaError as error:
            msg = f"topics of {self._clients.bootstrap} cannot be listed: {error!r}; check that the broker is up"
            raise TopicError(msg) from error
        states = {}
        for name, count in counts.items():
            policy, delete_retention_ms = configs.get(name, (None, None))
            states[name] = TopicState(count, policy, ids[name], delete_retention_ms)
        return states

    def cluster_id(self) -> str:
        """Fetch the id of the cluster.

        Returns:
            The id; of an embedded broker, one that no other start of it has.

        Raises:
            TopicError: The broker did not answer.
        """
        try:
            found = self._admin.describe_cluster()["cluster_id"]
        except KafkaError as error:
            msg = (
                f"the cluster at {self._clients.bootstrap} cannot be described: {error!r}; check that the broker is up"
            )
            raise TopicError(msg) from error
        # The embedded broker's id is an address in memory, which may come again; its port is chosen anew at each start.
        return f"{found} {self._clients.bootstrap}" if self._clients.is_embedded else str(found)

    def create(self, specs: Sequence[TopicSpec], replication_factor: int) -> None:
        """Create topics and wait until every partition has a leader.

        Args:
            specs: Topics to create.
            replication_factor: Replicas; -1 for the cluster's default.

        Raises:
            TopicError: The broker refused to create one, or it is an embedded broker in another process.
        """
        if self._clients.is_embedded:
            msg = "an embedded broker creates topics only in the process that runs it; start it with its topics there"
            raise TopicError(msg)
        wanted = {
            spec.name: {
                "num_partitions": spec.partitions,
                "replication_factor": replication_factor,
                "configs": dict(spec.config),
            }
            for spec in specs
        }
        try:
            answer = self._admin.create_topics(wanted, timeout_ms=CREATE_TIMEOUT_MS, raise_errors=False)
            self._refuse_errors(answer["topics"])
            self._admin.wait_for_topics(list(wanted))
        except KafkaError as error:
            msg = f"topics {', '.join(wanted)} cannot be created: {error!r}; check the broker's log and permissions"
            raise TopicError(msg) from error

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()

    def _configs(self, names: list[str]) -> dict[str, tuple[str | None, int | None]]:
        """Read cleanup policy and delete retention; a topic that we may not describe is left out."""
        wanted = ["cleanup.policy", "delete.retention.ms"]
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, wanted) for name in names]
        described = self._admin.describe_configs(resources, config_filter="all")["topic"]
        values = {
            name: [configs[key]["value"] if key in configs else None for key in wanted]
            for name, configs in described.items()
        }
        return {name: (policy, None if kept is None else int(kept)) for name, (policy, kept) in values.items()}

    @staticmethod
    def _refuse_errors(answers: Sequence[dict[str, Any]]) -> None:
        allowed = (0, TopicAlreadyExistsError.errno)  # another client created it in the meantime
        refused = [f"{a['name']}: {a['error_message']}" for a in answers if a["error_code"] not in allowed]
        if refused:
            raise TopicError("the broker refused to create topics: " + "; ".join(refused))


def _topic_id(given: Any) -> str | None:
    # A broker without topic ids omits the field or sends zeros.
    found = None if given is None else UUID(str(given))
    return str(found) if found is not None and found.int else None
