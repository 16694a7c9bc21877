"""Every input topic of a whole worker: what nobody can read, codecs and headers of other producers, transactions."""

import asyncio
import contextlib
import json
from dataclasses import dataclass

import pytest
from kafka import TopicPartition
from typer.testing import CliRunner

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.cli.main import app
from sidestream.streams.contracts.deadletters import MESSAGE_HEADER, OFFSET_HEADER, PARTITION_HEADER, REASON_HEADER
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, create_topics
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.worker.process import WorkerProcess
from tests.integration.rigs.session_rig import wait_until
from tests.integration.wire.odd_records import BAD_NAME, MANY_HEADERS, by_aiokafka, by_kafka_python, by_librdkafka

pytestmark = [pytest.mark.broker, pytest.mark.slow]
INPUTS = ("listens", "session_starts", "user_erasures", "catalog_items", "live_segments", "live_listeners")
MALFORMED = b"{broken"


@dataclass
class Installation:
    """A worker that all tests of this file share, and the topics that it reads."""

    kafka: object
    topics: object
    clients: Clients
    worker: WorkerProcess
    flags: dict

    def end(self, topic, partition):
        consumer = self.clients.consumer(read_committed=False)
        try:
            place = TopicPartition(topic, partition)
            return consumer.end_offsets([place])[place]
        finally:
            consumer.close()

    def letters(self, topic):
        return list(read_topic(self.clients, f"{topic}.dlq"))

    def await_letter(self, topic, partition, offset):
        def found():
            self.worker.require_running()
            return next((x for x in self.letters(topic) if place_of(x) == (partition, offset)), None)

        return wait_until(found, 20.0, f"dead letter of {topic}/{partition}/{offset}")

    def await_committed(self, topic, partition, offset):
        consumer = self.clients.consumer(group_id=self.flags["worker.app_id"])
        try:
            place = TopicPartition(topic, partition)
            wait_until(lambda: (consumer.committed(place) or 0) >= offset, 20.0, f"commit of {topic}/{partition}")
        finally:
            consumer.close()


def place_of(letter):
    """Where the record of a dead letter was read; the letter itself may be in another partition."""
    headers = dict(letter.headers)
    return int(headers[PARTITION_HEADER]), int(headers[OFFSET_HEADER])


@pytest.fixture(scope="module")
def installation(kafka, topic_prefix, tmp_path_factory):
    settings = TopicSettings(prefix=topic_prefix(), user_partitions=2, item_partitions=2)
    topics = build_topics(settings)
    admin = kafka.topic_admin()
    create_topics(admin, topics)
    admin.close()
    folder = tmp_path_factory.mktemp("inputs")
    (port,) = free_ports(1)
    flags = {
        "kafka.bootstrap": kafka.bootstrap,
        "kafka.client_rack": "zone-a",
        "topics.prefix": settings.prefix,
        "topics.user_partitions": 2,
        "topics.item_partitions": 2,
        "worker.app_id": f"{settings.prefix}app",
        "web.port": port,
        "data_dir": str(folder / "data"),
        "artifacts": str(shipped_pair()),
        "lane.commit_interval_ms": 100,
    }
    worker = WorkerProcess(flags, folder / "worker.log")
    worker.wait_ready(60)
    yield Installation(kafka, topics, Clients(kafka.kafka), worker, flags)
    worker.stop()


@pytest.mark.parametrize("name", INPUTS)
def test_a_record_that_nobody_can_read_is_a_dead_letter(installation, name):
    topic = getattr(installation.topics, name).name
    first = installation.end(topic, 0)
    records = [(b"k", b"v1", BAD_NAME), (b"k", MALFORMED, []), (b"k", None, BAD_NAME)]
    by_kafka_python(installation.kafka, topic, records)
    letter = installation.await_letter(topic, 0, first)
    headers = dict(letter.headers)
    assert (letter.key, letter.value, headers["n\\xff"]) == (b"k", b"v1", b"2")
    assert headers[REASON_HEADER] == b"unreadable"
    assert b"name of header 2: expected UTF-8" in headers[MESSAGE_HEADER]
    assert dict(installation.await_letter(topic, 0, first + 1).headers)[REASON_HEADER] != b"unreadable"
    assert dict(installation.await_letter(topic, 0, first + 2).headers)[REASON_HEADER] == b"unreadable"
    installation.await_committed(topic, 0, first + 3)
    options = ["--set", f"kafka.bootstrap={installation.kafka.bootstrap}"]
    options += ["--set", f"topics.prefix={installation.flags['topics.prefix']}", "--topic", topic, "--json"]
    listed = CliRunner().invoke(app, ["dlq", "list", "--reason", "unreadable", *options])
    assert len(json.loads(listed.stdout)) == 2
    replayed = CliRunner().invoke(app, ["dlq", "replay", "--reason", "unreadable", "--dry-run", *options])
    assert json.loads(replayed.stdout)["skipped"] == {"unreadable": 2}
    one = CliRunner().invoke(
        app, ["dlq", "show", f"{topic}.dlq/{letter.partition}/{letter.offset}", *options[:4], "--json"]
    )
    assert json.loads(one.stdout)["obstacle"] == "unreadable"


@pytest.mark.parametrize("name", INPUTS)
def test_codecs_and_headers_of_other_producers_stop_nothing(installation, name):
    topic = getattr(installation.topics, name).name
    first = installation.end(topic, 0)
    padded = MALFORMED + b" " * 500
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        for send in (by_aiokafka, by_kafka_python, by_librdkafka):
            send(installation.kafka, topic, [(b"k", padded, [("h", b"1")])], codec=codec)
    many = [(f"h{number}", b"%d" % number) for number in range(500)]
    odd = [("", b"empty name"), ("same", b"1"), ("same", b"2"), ("null", None), ("b", b"\xff\x00")]
    by_librdkafka(installation.kafka, topic, [(b"k", MALFORMED, many), (b"k", MALFORMED, odd)])
    by_aiokafka(
        installation.kafka,
        topic,
        [(b"k", MALFORMED, [("huge", b"x" * 1_000_000)]), (b"k", MALFORMED, MANY_HEADERS)],
    )
    installation.await_letter(topic, 0, first + 15)
    letters = {place_of(letter)[1]: letter for letter in installation.letters(topic) if place_of(letter)[0] == 0}
    assert [letters[first + number].value for number in range(12)] == [padded] * 12
    assert all(dict(letters[first + number].headers)[REASON_HEADER] == b"not_json" for number in range(16))
    assert list(letters[first + 12].headers[:500]) == many
    assert [name for name, _ in letters[first + 13].headers[:5]] == [name for name, _ in odd]


@pytest.mark.parametrize("name", INPUTS)
async def test_open_and_aborted_transactions_show_nothing(installation, name):
    topic = getattr(installation.topics, name).name
    places = {}

    async def send(producer, text, partition=0):
        sent = await producer.send_and_wait(topic, b"{" + text, key=b"k", partition=partition)
        places[text] = (partition, sent.offset)

    def seen():
        found = {place_of(letter) for letter in installation.letters(topic)}
        return [text for text, place in places.items() if place in found]

    async with contextlib.AsyncExitStack() as stack:
        plain = await stack.enter_async_context(installation.clients.async_producer())
        other = installation.clients.async_producer(transactional_id=f"other-{name}", transaction_timeout_ms=60_000)
        await stack.enter_async_context(other)
        await other.begin_transaction()
        await send(other, b"aborted")
        await other.abort_transaction()
        await other.begin_transaction()
        await send(other, b"open")
        await send(plain, b"behind")
        await send(plain, b"elsewhere", partition=1)
        await asyncio.to_thread(installation.await_letter, topic, *places[b"elsewhere"])
        assert await asyncio.to_thread(seen) == [b"elsewhere"]
        await other.commit_transaction()
        await asyncio.to_thread(installation.await_letter, topic, *places[b"behind"])
        assert await asyncio.to_thread(seen) == [b"open", b"behind", b"elsewhere"]
