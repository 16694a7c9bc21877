"""`topics create`: a Kafka that does not fit is no success."""

from dataclasses import replace
from typing import ClassVar

import pytest

from sidestream.streams.cli.serving import topics
from sidestream.streams.contracts.topics import TopicState, build_topics
from sidestream.streams.errors import TopicError
from sidestream.streams.settings import Settings


class Admin:
    """A Kafka in memory."""

    states: ClassVar[dict[str, TopicState]] = {}

    def __init__(self, clients):
        del clients

    def describe(self, names):
        return {name: state for name, state in self.states.items() if name in names}

    def create(self, specs, replication_factor):
        for spec in specs:
            self.states[spec.name] = TopicState(spec.partitions, "compact" if spec.compacted else "delete")

    def close(self):
        pass


@pytest.fixture
def states(monkeypatch):
    monkeypatch.setattr(topics, "KafkaTopicAdmin", Admin)
    monkeypatch.setattr(topics, "clients_of", lambda settings: None)
    monkeypatch.setattr(topics, "settings_of", lambda ctx: Settings())
    monkeypatch.setattr(Admin, "states", {})
    return Admin.states


def test_missing_topics_are_created_and_told(states, capsys):
    topics.create(None)
    assert set(states) == {spec.name for spec in build_topics(Settings().topics)}
    assert capsys.readouterr().err.count("created ") == len(states)
    topics.create(None)
    assert "all topics are there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("listen-events.v1", {"partitions": 3}, "got 3"),
        ("item-sids.v1", {"cleanup_policy": "delete"}, "cleanup.policy=compact"),
    ],
)
def test_a_topic_that_does_not_fit_is_told_and_is_no_success(states, capsys, name, change, words):
    """It said "all topics are there" and ended 0."""
    topics.create(None)
    states[name] = replace(states[name], **change)
    del states["candidates.v1"]
    capsys.readouterr()
    with pytest.raises(TopicError, match=words):
        topics.create(None)
    assert "created candidates.v1" in capsys.readouterr().err
