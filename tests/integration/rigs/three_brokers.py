"""A Kafka of three nodes whose nodes are stopped, killed, paused and restarted, and whose leaders are moved."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from sidestream.streams.broker import BrokerSettings, RunningBroker, local, start_broker
from sidestream.streams.broker.local import LocalKafka
from sidestream.streams.broker.node import Node
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import Topics, build_topics, create_topics
from sidestream.streams.kafka.clients import Clients, KafkaSettings

NODES = 3
WHOLE_TIMEOUT_S = 90.0
# Above replica.lag.time.max.ms of the nodes.
LAG_LIMIT_S = 12.0
_PREFERRED = 0


class ThreeBrokers:
    """Nodes in one data folder, every topic on all of them; stop it at the end."""

    def __init__(self, data_dir: Path, nodes: int = NODES) -> None:
        self.settings = BrokerSettings(kind="kafka", port=0, data_dir=data_dir, brokers=nodes)
        self._nodes = nodes
        self.broker: RunningBroker = start_broker(self.settings)

    @property
    def kafka(self) -> KafkaSettings:
        return self.broker.kafka

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap

    def make_topics(self, prefix: str = "three-", user_partitions: int = 4, item_partitions: int = 2) -> Topics:
        """Create the topics of an installation, which creates the topics of offsets and transactions as well."""
        topics = build_topics(
            TopicSettings(prefix=prefix, user_partitions=user_partitions, item_partitions=item_partitions)
        )
        admin = self.broker.topic_admin()
        try:
            create_topics(admin, topics)
        finally:
            admin.close()
        return topics

    def node(self, number: int) -> Node:
        """A node by its number, to be stopped, killed, paused or resumed."""
        return self._local().node(number)

    def start(self, number: int) -> None:
        """Start a node again and wait until it answers."""
        local.start_node(self.settings, number)

    def start_all(self) -> None:
        """Start all nodes again at the same time: none answers without a majority."""
        for number in range(1, self._nodes + 1):
            local.start_node(self.settings, number, waits=False)
        for number in range(1, self._nodes + 1):
            self.start(number)

    @contextmanager
    def without(self, number: int, *, kill: bool = False) -> Iterator[None]:
        """A block during which one node is gone: stopped in order, or killed."""
        if kill:
            self.node(number).kill()
        else:
            self.node(number).stop(self.settings.stop_timeout_s)
        try:
            yield
        finally:
            self.start(number)

    def rolling_restart(self, between: Callable[[], Any] = lambda: None) -> None:
        """Stop and start each node in turn, as an upgrade does; the next one goes when all replicas are in sync."""
        for number in range(1, self._nodes + 1):
            with self.without(number):
                between()
            self.wait_whole()
            between()

    def wait_whole(self) -> None:
        """Wait until all replicas of all topics are in sync."""
        self._wait(self._is_whole, "all in sync")

    def wait_led_without(self, number: int) -> None:
        """Wait until other nodes lead all partitions of one that is gone."""
        self._wait(lambda: number not in self.leaders().values(), f"led without node {number}")

    def leaders(self) -> dict[tuple[str, int], int]:
        """Leader of each partition of all topics, those of offsets and transactions among them; -1 for none."""
        return {place: one["leader_id"] for place, one in self._partitions()}

    def leader_of(self, topic: str, partition: int = 0) -> int:
        return self.leaders()[topic, partition]

    def move_leaders(self, seed: int = 0) -> None:
        """Give every partition another leader: its replicas in another order, and an election of the first.

        A follower whose leader changes may never fetch again (seen with 4.4.0, in one of five moves, without a log
        line), and the partition has too few replicas in sync until its leader changes again. Such replicas are removed
        and added anew.
        """
        choose = random.Random(seed)
        before = self.leaders()
        wanted = {}
        for place, leader in before.items():
            others = [node for node in range(1, self._nodes + 1) if node != leader]
            choose.shuffle(others)
            wanted[TopicPartition(*place)] = [*others, leader]
        with self._admin() as admin:
            admin.alter_partition_reassignments(wanted)
            self._wait(
                lambda: all(
                    one["replica_nodes"] == wanted[TopicPartition(*place)]
                    for place, one in self._partitions()
                    if place in before
                ),
                "in another order",
            )
            # Partitions that have the leader already are reported as errors of their own.
            admin.elect_leaders(_PREFERRED, raise_errors=False)
        self._wait(lambda: all(self.leaders()[place] == wanted[TopicPartition(*place)][0] for place in before), "moved")
        time.sleep(LAG_LIMIT_S)  # before that, a replica that does not fetch counts as one in sync
        if not self._is_whole():
            self._add_replicas_anew()
        self.wait_whole()

    def place(self, topic: str, partition: int, nodes: Sequence[int]) -> None:
        """Keep the replicas of a partition on these nodes alone."""
        with self._admin() as admin:
            admin.alter_partition_reassignments({TopicPartition(topic, partition): list(nodes)})

        def is_there() -> bool:
            return list(dict(self._partitions())[topic, partition]["isr_nodes"]) == list(nodes)

        self._wait(is_there, f"{topic}/{partition} on {nodes}")

    def set_min_isr(self, topic: str, replicas: int) -> None:
        """Require so many replicas in sync for writes to a topic, also one of Kafka's own."""
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"min.insync.replicas": str(replicas)})
        with self._admin() as admin:
            admin.alter_configs([resource])

    def _is_whole(self) -> bool:
        return all(len(one["isr_nodes"]) == self._nodes for _, one in self._partitions())

    def _add_replicas_anew(self) -> None:
        behind = {
            TopicPartition(*place): one for place, one in self._partitions() if len(one["isr_nodes"]) < self._nodes
        }
        with self._admin() as admin:
            admin.alter_partition_reassignments({place: [one["leader_id"]] for place, one in behind.items()})

            def is_alone() -> bool:
                now = dict(self._partitions())
                return all(len(now[tuple(place)]["replica_nodes"]) == 1 for place in behind)

            self._wait(is_alone, "replicas removed")
            admin.alter_partition_reassignments({place: one["replica_nodes"] for place, one in behind.items()})

    def stop(self) -> None:
        for one in self._local().nodes:
            one.resume()
        local.stop(self.settings)

    def _local(self) -> LocalKafka:
        found = local.find(self.settings)
        assert found is not None, "no node runs"
        return found

    def _partitions(self) -> list[tuple[tuple[str, int], dict[str, Any]]]:
        with self._admin() as admin:
            topics = admin.describe_topics()
        return [((topic["name"], one["partition_index"]), one) for topic in topics for one in topic["partitions"]]

    @contextmanager
    def _admin(self) -> Iterator[Any]:
        admin = Clients(self.kafka).admin()
        try:
            yield admin
        finally:
            admin.close()

    @staticmethod
    def _wait(condition: Callable[[], bool], what: str, limit_s: float = WHOLE_TIMEOUT_S) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            with suppress(KafkaError):
                if condition():
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {limit_s:.0f} s: {what}")
            time.sleep(0.1)
