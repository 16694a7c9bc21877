"""The listen lane in a Faust worker on the embedded broker, which neither wakes fetches nor isolates transactions."""

import pytest

from sidestream.streams.broker import BrokerSettings, start_broker
from sidestream.streams.broker.embedded import has_library
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, create_topics
from tests.integration.rigs.lane_rig import Rig, make_listens


@pytest.mark.skipif(not has_library(), reason="confluent-kafka, which carries the embedded broker, is not installed")
def test_lane_works_on_the_embedded_broker(tmp_path, topic_prefix):
    broker = start_broker(BrokerSettings(kind="embedded"))
    prefix = topic_prefix()
    topics = build_topics(TopicSettings(prefix=prefix, user_partitions=4, item_partitions=2))
    create_topics(broker.topic_admin(), topics)
    rig = Rig(broker.kafka, topics, prefix, tmp_path)
    try:
        rig.produce(make_listens(1_000, users=50, seed=6))
        worker = rig.start_worker()
        rig.wait_drained()
        rig.produce(make_listens(500, users=50, seed=7))
        rig.wait_drained()
        assert rig.stop(worker) == 0
        states, bad = rig.expected()
        assert rig.table() == rig.changelog() == states
        assert len(rig.read_all(topics.listens.name + ".dlq")) == len(bad) > 0
    finally:
        rig.close()
        broker.stop()
