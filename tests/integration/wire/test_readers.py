"""Both kinds of reader on a real Kafka: every codec of every producer, odd headers, and what nobody can read."""

import asyncio
import itertools
import json

import pytest
from typer.testing import CliRunner

from sidestream.streams.cli.main import app
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.errors import TopicError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.blocking import BlockingFollower
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.reading import read_to_end
from sidestream.streams.kafka.tail import read_record
from tests.integration.wire.odd_records import BAD_NAME, by_aiokafka, by_kafka_python, by_librdkafka

pytestmark = pytest.mark.broker
_NUMBERS = itertools.count()


@pytest.fixture
def make_topic(kafka):
    def make(config=None):
        name = f"wire{next(_NUMBERS)}"
        admin = KafkaTopicAdmin(Clients(kafka.kafka))
        admin.create([TopicSpec(name, "key", None, 1, False, config or {})], 1)
        admin.close()
        return name

    return make


def read_both(kafka, topic):
    """The records of a topic as both readers give them, which must be the same."""
    clients = Clients(kafka.kafka)

    async def read():
        return [record async for batch in read_to_end(clients, topic, [0]) for record in batch.records]

    found = asyncio.run(read())
    with BlockingFollower(clients, {topic: None}, restarts=False) as follower:
        same = [record for _, records in follower.to_end() for record in records]
    assert [outline(record) for record in same] == [outline(record) for record in found]
    return found


def outline(record):
    if isinstance(record.value, Unreadable):
        value = record.value
        return value.first_offset, record.offset, value.key, value.content, value.headers, value.why
    return record.offset, record.key, record.value, list(record.headers)


def test_every_codec_of_every_producer(kafka, make_topic):
    topic, value, expected = make_topic(), b"x" * 5_000, []
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        for send in (by_aiokafka, by_kafka_python, by_librdkafka):
            key = f"{codec} {send.__name__}".encode()
            send(kafka, topic, [(key, value, []), (key, value, [("h", b"1")])], codec=codec)
            expected += [(key, value), (key, value)]
    assert [(record.key, record.value) for record in read_both(kafka, topic)] == expected


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_topic_that_has_a_codec_of_its_own(kafka, make_topic, codec):
    topic = make_topic({"compression.type": codec})
    by_aiokafka(kafka, topic, [(b"a", b"1" * 900, [])])
    producer = Clients(kafka.kafka).producer()
    producer.send(topic, b"2" * 900, key=b"b").get(10)
    producer.close()
    assert [(record.key, record.value) for record in read_both(kafka, topic)] == [
        (b"a", b"1" * 900),
        (b"b", b"2" * 900),
    ]


def test_odd_headers(kafka, make_topic):
    topic = make_topic()
    many = [(f"h{number}", b"%d" % number) for number in range(500)]
    odd = [("", b"empty name"), ("same", b"1"), ("same", b"2"), ("null", None), ("b", b"\xff\x00")]
    huge = [("huge", b"x" * 1_000_000)]
    records = [(b"k", b"v", headers) for headers in (many, odd, huge)]
    by_librdkafka(kafka, topic, records[:2])
    by_aiokafka(kafka, topic, records[2:])
    assert [list(record.headers) for record in read_both(kafka, topic)] == [many, odd, huge]


def test_a_header_name_that_is_no_text_is_isolated(kafka, make_topic):
    topic = make_topic()
    records = [(b"a", b"1", []), (b"b", b"2", BAD_NAME), (b"c", b"3", []), (b"d", None, BAD_NAME)]
    for codec in (None, "lz4"):
        by_kafka_python(kafka, topic, records, codec=codec)
    found = read_both(kafka, topic)
    assert [record.offset for record in found] == list(range(8))
    assert [record.value for record in found if not isinstance(record.value, Unreadable)] == [b"1", b"3"] * 2
    bad = found[1].value
    assert (bad.key, bad.content, bad.headers) == (b"b", b"2", (("fine", b"1"), ("n\\xff", b"2")))
    assert found[3].value.content is None
    record = read_record(Clients(kafka.kafka), topic, 0, 5)
    assert record is not None
    assert isinstance(record.value, Unreadable)


async def test_a_topic_that_must_be_intact_names_the_place(kafka, make_topic):
    topic = make_topic()
    await asyncio.to_thread(by_kafka_python, kafka, topic, [(b"a", b"1", []), (b"b", b"2", BAD_NAME)])
    with pytest.raises(TopicError, match=f"{topic}/0: expected an intact record at offset 1, got .* header 2"):
        async for _ in read_to_end(Clients(kafka.kafka), topic, [0], intact=True):
            pass


def test_tail_shows_it_and_goes_on(kafka, make_topic):
    topic = make_topic()
    by_kafka_python(kafka, topic, [(b"a", b"1", []), (b"b", b"2", BAD_NAME), (b"c", b"3", [])])
    options = ["--set", f"kafka.bootstrap={kafka.bootstrap}", "--from-start", "--limit", "3"]
    shown = CliRunner().invoke(app, ["tail", topic, *options, "--json"])
    assert shown.exit_code == 0, shown.output
    rows = [json.loads(line) for line in shown.stdout.splitlines() if line.startswith("{")]
    assert [row["offset"] for row in rows] == [0, 1, 2]
    assert (rows[1]["key"], rows[1]["value"]) == ("b", 2)
    assert "expected UTF-8" in rows[1]["unreadable"]
    shown = CliRunner().invoke(app, ["tail", topic, *options, "--no-json"])
    assert shown.exit_code == 0, shown.output
    assert "cannot be read" in shown.stdout
