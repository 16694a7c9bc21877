"""`tail --key`: the records of one key, those that are there and those that come."""

import json
import time

import pytest

from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, create_topics
from sidestream.streams.kafka.clients import Clients

DEADLINE_S = 60
TOPIC = "item-sids.v1"


@pytest.fixture
def place(embedded, topic_prefix):
    """Topics of this test's own, what leads a command to them, and a producer."""
    settings = TopicSettings(prefix=topic_prefix())
    create_topics(embedded.topic_admin(), build_topics(settings))
    kafka = embedded.kafka
    producer = Clients(kafka).producer()

    def send(*keys):
        for key in keys:
            producer.send(f"{settings.prefix}{TOPIC}", key=key, value=b"{}").get(20)

    given = {"kafka.bootstrap": kafka.bootstrap, "kafka.kind": "embedded", "topics.prefix": settings.prefix}
    yield send, [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    producer.close()


def keys(out):
    return [json.loads(line)["key"] for line in out.splitlines()]


def test_of_what_is_there_only_the_records_of_the_key_are_shown(sidestream, place):
    send, to = place
    send(b"ep-1", b"ep-10", b"ep", b"EP-1", "jürgen".encode(), b"ep-1")
    assert keys(sidestream("tail", TOPIC, "--from-start", "--key", "ep-1", "-n", 2, *to).out) == ["ep-1"] * 2
    assert keys(sidestream("tail", TOPIC, "--from-start", "--key", "jürgen", "-n", 1, *to).out) == ["jürgen"]
    assert keys(sidestream("tail", TOPIC, "--from-start", "--key", "e", "--idle-s", "0.2", *to).out) == []


def test_of_what_comes_only_the_records_of_the_key_are_shown(sidestream_process, place):
    send, to = place
    send(b"ep-1")
    with sidestream_process("tail", TOPIC, "--key", "ep-1", "--limit", 1, *to) as process:
        deadline_s = time.monotonic() + DEADLINE_S
        while process.poll() is None:
            assert time.monotonic() < deadline_s
            send(b"ep-2", b"ep-1")
        assert keys(process.stdout.read()) == ["ep-1"]
