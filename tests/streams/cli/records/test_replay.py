"""`sidestream replay` on another or emptied Kafka starts over and says so; on the same one it says what was played."""

import json

import pytest

from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.broker.embedded import EmbeddedBroker
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, create_topics


def test_the_position_counts_for_one_kafka(sidestream, tmp_path):
    pytest.importorskip("confluent_kafka")
    generate_world(tmp_path / "w", WorldSettings(listeners=10, days=2))
    for number in range(2):
        with EmbeddedBroker() as broker:
            create_topics(broker, build_topics(TopicSettings()))
            to = ["--bootstrap", broker.bootstrap, "--set", "kafka.kind=embedded", "--json"]
            first = sidestream("replay", "w", *to)
            assert ("starting over" in first.err) == (number > 0)
            facts = json.loads(first.out)
            assert facts["sent"] == facts["published"] == facts["total"] > 0
            second = sidestream("replay", "w", *to)
            assert f"all {facts['total']} rows were published to this Kafka before" in second.err
            assert json.loads(second.out) == {"sent": 0, "published": facts["total"], "total": facts["total"]}
