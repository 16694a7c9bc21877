"""An erased user on the changelog of a real Kafka: after compaction two watermarks, after forgetting nothing."""

import time

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from models.data.rows import ListenRow
from models.history import describe, erase, fold, forget
from models.records import UserErasure
from streams.connect import Clients
from streams.contracts.decode import decode_user_erasure
from streams.tail import read_topic
from tokenizer.sid import item_key

pytestmark = pytest.mark.broker
HASTE = {
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
    "max.compaction.lag.ms": "100",
    "delete.retention.ms": "100",
}


def wait_compacted(clients: Clients, topic: str, key: bytes, count: int) -> list[bytes | None]:
    """Wait until so many records of a key are left; others of its partition close the segments meanwhile."""
    deadline = time.monotonic() + 60
    producer = clients.producer()
    try:
        while time.monotonic() < deadline:
            left = [record.value for record in read_topic(clients, topic) if record.key == key]
            if len(left) == count:
                return left
            producer.send(topic, key=b"filler", value=b"x")
            producer.flush(10)
    finally:
        producer.close()
    raise AssertionError(f"{len(left)} records of {key!r} after 60 s, expected {count}")


def test_compaction_leaves_two_watermarks_and_then_nothing(kafka, make_topics):
    clients, topics = Clients(kafka.kafka), make_topics(user_partitions=1)
    changelog = topics.user_state_changelog.name
    admin = clients.admin()
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, changelog, HASTE)])
    admin.close()
    states = [None]
    for number in range(30):
        listen = ListenRow(event_id=f"e{number}", user_id="u", item_id=f"secret-{number}", at=1_000 + number)
        states.append(fold(states[-1], [(number, listen)], lambda _: None).state)
    request = UserErasure(erasure_id="r", user_id="u", at=5_000)
    erasure = decode_user_erasure(b"u", request.to_json(), 5_000)
    states.append(erase(states[-1], erasure.at))

    producer = clients.producer()
    for state in states[1:]:
        producer.send(changelog, key=b"u", value=state)
    producer.flush(10)
    (left,) = wait_compacted(clients, changelog, b"u", 1)
    assert left == states[-1]
    assert describe(left)["watermarks"] == {"listens": 29}
    whole = b"".join(record.value or b"" for record in read_topic(clients, changelog))
    assert not any(item_key(f"secret-{number}").to_bytes(8, "little") in whole for number in range(30))

    producer.send(changelog, key=b"u", value=forget(left))
    producer.flush(10)
    producer.close()
    wait_compacted(clients, changelog, b"u", 0)
