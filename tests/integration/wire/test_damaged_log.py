"""Bytes of the broker's files are changed: the damage goes to the dead letters, everything around it is processed."""

import json
import struct
import subprocess
import sys

import pytest

from sidestream.streams.contracts.deadletters import (
    CONTENT_HEADER,
    FIRST_OFFSET_HEADER,
    MESSAGE_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    REASON_HEADER,
)
from sidestream.streams.kafka.tail import read_topic
from tests.integration.rigs.session_rig import AT, Rig, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]
LENGTH_AT, ATTRIBUTES_AT, PAYLOAD_AT = 8, 21, 61
NAMES = ("listens", "session_starts", "user_erasures", "catalog_items")


def batches_of(raw):
    """Where the batches of a segment begin."""
    begins, at = [], 0
    while at < len(raw):
        begins.append(at)
        at += 12 + struct.unpack_from(">i", raw, at + LENGTH_AT)[0]
    return begins


def damage(kafka, topic, partition, number, place, bits=0x01):
    """Change a byte of one batch in the files of a stopped broker."""
    (path,) = (kafka.settings.data_dir / "topics" / f"{topic}-{partition}").glob("*.log")
    raw = bytearray(path.read_bytes())
    raw[batches_of(raw)[number] + place] ^= bits
    path.write_bytes(raw)


@pytest.fixture
def rig(mortal_kafka, tmp_path):
    answers_all = {"session.start": "beginning", "session.max_age_ms": 0}
    made = Rig(mortal_kafka, mortal_kafka.make_topics(), tmp_path, **answers_all)
    yield made
    made.close()


def send_three(rig, user):
    """Three batches, of one, two and one records, on every input topic in the partition of one user or item."""
    for numbers in ((0,), (1, 2), (3,)):
        for number in numbers:
            rig.listen(user, "i0", number)
            rig.session(f"s{number}", user)
            erasure = {"erasure_id": f"e{number}", "user_id": f"{user}-x{number}", "at": AT}
            rig.send(rig.topics.user_erasures, user, {**erasure, "user_id": user, "at": AT - 10 + number})
            rig.item("i0", at=AT + number)
        rig.flush()


def test_damaged_batches_are_dead_letters_and_nothing_stops(rig, mortal_kafka):
    producer = rig.clients.producer(linger_ms=50)
    rig._producer = producer
    user, topics = "u", rig.topics
    send_three(rig, user)
    partition = rig.partition_of(user)
    item_partition = next(iter({r.partition for r in read_topic(rig.clients, topics.catalog_items.name)}))
    places = {name: item_partition if name == "catalog_items" else partition for name in NAMES}
    rig.close_clients()
    mortal_kafka.broker.stop()
    for name, number in places.items():
        topic = getattr(topics, name).name
        damage(mortal_kafka, topic, number, 1, PAYLOAD_AT + 30)
        if name == "listens":  # and a codec that does not exist, in the last batch
            damage(mortal_kafka, topic, number, 2, ATTRIBUTES_AT + 1, 0x07)
    mortal_kafka.restart()
    rig.start().ready()
    for name, number in places.items():
        topic = getattr(topics, name)
        letters = rig.letters(topic.dead_letters, 3 if name == "listens" else 2)
        found = [dict(letter.headers) for letter in letters]
        assert {headers[REASON_HEADER] for headers in found} == {b"unreadable"}
        assert {int(headers[PARTITION_HEADER]) for headers in found} == {number}
        assert sorted(int(headers[OFFSET_HEADER]) for headers in found) == ([1, 2, 3] if name == "listens" else [1, 2])
        assert all(b"damaged batch: expected CRC-32C" in headers[MESSAGE_HEADER] for headers in found)
        assert all(FIRST_OFFSET_HEADER not in headers for headers in found)
        if name == "listens":
            assert [headers.get(CONTENT_HEADER) for headers in found] == [None, None, b"batch"]
        else:
            assert [letter.key for letter in letters].count((b"u", b"i0")[name == "catalog_items"]) >= 1
    assert {s.session_id for s in rig.all_sets()} == {"s0", "s3"}
    rig.listen(user, "i0", 9)
    rig.flush()
    # The first listen is erased by the erasures around it; the last one was sent after the damage.
    wait_until(lambda: rig.metric('sidestream_listens_total{outcome="applied"}') >= 1, what="the last listen")
    wait_until(lambda: rig.metric("sidestream_catalogue_items") == 1, what="the item")
    assert rig.end() == 0


def test_commands_read_on_behind_the_damage(rig, mortal_kafka, tmp_path):
    rig._producer = rig.clients.producer(linger_ms=50)
    send_three(rig, "u")
    rig.close_clients()
    mortal_kafka.broker.stop()
    damage(mortal_kafka, rig.topics.listens.name, rig.partition_of("u"), 1, PAYLOAD_AT + 30)
    mortal_kafka.restart()
    prefix = rig.flags["topics.prefix"]
    options = [
        part
        for name in ("kafka.bootstrap", "topics.prefix", "topics.user_partitions", "topics.item_partitions")
        for part in ("--set", f"{name}={rig.flags[name]}")
    ]

    def run(*command):
        done = subprocess.run(
            [sys.executable, "-m", "sidestream.streams.cli.entry", *command, *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "check that the broker is up" not in done.stderr
        return done

    shown = run("tail", "listen-events.v1", "--from-start", "--limit", "4", "--json")
    assert shown.returncode == 0, shown.stderr
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [("unreadable" in row, row["offset"]) for row in rows] == [(False, 0), (True, 1), (True, 2), (False, 3)]
    assert f"{prefix}listen-events.v1" in shown.stderr
    recorded = run("record", str(tmp_path / "log"), "--json")
    assert recorded.returncode == 0, recorded.stderr
    refused = json.loads(recorded.stdout)["refused"]
    assert refused == {f"{prefix}listen-events.v1": {"unreadable": 2}}
    assert run("dlq", "list", "--json").returncode == 0
    # A broker that was just started may not know the group yet, which then seems to have members.
    wait_until(lambda: run("state", "verify", "--json").returncode == 0, 60.0, "states verified")
