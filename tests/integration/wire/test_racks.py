"""`kafka.client_rack` on a Kafka of two racks: both kinds of reader fetch from the replica in their own rack."""

import asyncio
import shutil

import aiokafka
import kafka
import pytest

from sidestream.streams.broker import BrokerSettings, jars, start_broker
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import Clients
from tests.integration.rigs.session_rig import wait_until
from tests.integration.wire.odd_records import by_kafka_python

pytestmark = [pytest.mark.broker, pytest.mark.slow]
NODES = 2
RACKS = "broker.rack=rack-$node\nreplica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector\n"


@pytest.fixture
def racks(tmp_path, kafka_jars):
    """A Kafka of two nodes in racks of their own."""
    files = tmp_path / "files"
    shutil.copytree(jars.kafka_files(BrokerSettings()), files)
    with (files / "server.properties").open("a") as properties:
        properties.write(RACKS)
    settings = BrokerSettings(kind="kafka", port=0, data_dir=tmp_path / "kafka", kafka_files=files, brokers=NODES)
    broker = start_broker(settings)
    yield broker
    broker.stop()


def make_replicated(clients, name):
    """Make a topic on both nodes; returns the node that leads it."""
    admin = KafkaTopicAdmin(clients)
    try:
        wait_until(lambda: len(admin._admin.describe_cluster()["brokers"]) == NODES, 60, "both nodes")
        admin.create([TopicSpec(name, "key", None, 1, False, {})], NODES)
        (topic,) = [found for found in admin._admin.describe_topics() if found["name"] == name]
        return topic["partitions"][0]["leader_id"]
    finally:
        admin.close()


async def follower_of_aiokafka(clients, topic, count):
    """Read that many records; returns the follower that they came from, None for the leader."""
    consumer = clients.async_consumer()
    await consumer.start()
    try:
        place = aiokafka.TopicPartition(topic, 0)
        consumer.assign([place])
        async with asyncio.timeout(60):
            while count > 0:
                count -= sum(map(len, (await consumer.getmany(timeout_ms=200)).values()))
        return consumer._fetcher._preferred_read_replica.get(place, (None,))[0]
    finally:
        await consumer.stop()


def follower_of_kafka_python(clients, topic, count):
    """Read that many records; returns the follower that the leader named, None for the leader."""
    consumer = clients.consumer()
    try:
        place = kafka.TopicPartition(topic, 0)
        consumer.assign([place])
        found, named = [], []
        state = consumer._subscription.assignment[place]
        update = state.update_preferred_read_replica  # it forgets the follower with the follower's own answer
        state.update_preferred_read_replica = lambda node, until: named.append(node) or update(node, until)
        wait_until(lambda: found.extend(*consumer.poll(200).values() or ([],)) or len(found) == count, 60, "records")
        return next((node for node in named if node is not None and node >= 0), None)
    finally:
        consumer.close()


def test_readers_fetch_from_their_own_rack(racks):
    leader = make_replicated(Clients(racks.kafka), "t")
    by_kafka_python(racks, "t", [(b"k", b"%d" % number, []) for number in range(20)])
    for node in range(1, NODES + 1):
        clients = Clients(racks.kafka.model_copy(update={"client_rack": f"rack-{node}"}))
        expected = None if node == leader else node
        assert asyncio.run(follower_of_aiokafka(clients, "t", 20)) == expected
        assert follower_of_kafka_python(clients, "t", 20) == expected
    assert asyncio.run(follower_of_aiokafka(Clients(racks.kafka), "t", 20)) is None
