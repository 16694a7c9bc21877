"""The user client on a real Kafka: correct topics and keys, each candidate set once, failures raised."""

import sys
import threading
import time
from collections.abc import Iterator

import pytest
from kafka import TopicPartition

from sidestream.models.records import Candidate, CandidateSet, CatalogItem, Listen, SessionStart
from sidestream.models.records.candidates import candidate_set_id
from sidestream.streams.broker import RunningBroker
from sidestream.streams.broker.status import BrokerStatus
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.decode import (
    decode_catalog_item,
    decode_listen,
    decode_session_start,
    decode_user_erasure,
)
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import create_topics
from sidestream.streams.errors import BrokerError, TopicError
from sidestream.streams.examples import connecting
from sidestream.streams.examples.connecting import open_client
from sidestream.streams.kafka.clients import Clients
from tests.streams.demo.published import value
from tests.streams.topic_reading import read

pytestmark = pytest.mark.broker
NOW = 1_700_000_000_000
DEADLINE_S = 30.0


@pytest.fixture
def client(kafka: RunningBroker, topic_prefix) -> Iterator[SidestreamClient]:
    settings = TopicSettings(prefix=topic_prefix(), user_partitions=3)
    with SidestreamClient(kafka.kafka, settings) as made:
        admin = kafka.topic_admin()
        create_topics(admin, made.topics)
        admin.close()
        yield made


def answer(start: SessionStart, **change) -> CandidateSet:
    fields = {
        "candidate_set_id": candidate_set_id(start.user_id, start.session_id, start.page),
        "session_id": start.session_id,
        "user_id": start.user_id,
        "requested_at": start.at,
        "produced_at": start.at,
        "model_version": "m",
        "tokenizer_version": "t",
        "catalogue_version": "c",
        "state_watermark": -1,
        "discovery": start.discovery,
        "candidates": (
            Candidate(item_id="known", sid="1-2-3", rank=0, score=2.0, familiar=True),
            Candidate(item_id="fresh", sid="1-2-4", rank=1, score=1.0, familiar=False),
        ),
    }
    return CandidateSet(**{**fields, **change})


def publish_answers(kafka: RunningBroker, client: SidestreamClient, *sets: CandidateSet) -> None:
    producer = Clients(kafka.kafka).producer()
    for found in sets:
        producer.send(client.topics.candidates.name, key=found.user_id.encode(), value=found.to_json())
    producer.flush(timeout=DEADLINE_S)
    producer.close()


@pytest.fixture
def worker(kafka: RunningBroker, client: SidestreamClient) -> Iterator[None]:
    """Answers every session-start of the client's topics, each answer twice, as a redelivery would."""
    is_over = threading.Event()
    topic = client.topics.session_starts
    consumer = Clients(kafka.kafka).consumer()
    consumer.assign([TopicPartition(topic.name, number) for number in range(topic.partitions)])
    consumer.seek_to_beginning()

    def serve() -> None:
        while not is_over.is_set():
            for records in consumer.poll(timeout_ms=50).values():
                for record in records:
                    found = answer(decode_session_start(record.key, record.value, record.timestamp))
                    publish_answers(kafka, client, found, found)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    is_over.set()
    thread.join()
    consumer.close()


def test_published_values_pass_the_decoders(kafka: RunningBroker, client: SidestreamClient) -> None:
    listen = Listen(event_id="e", user_id="üser", item_id="i", at=NOW, listened_ms=5)
    item = CatalogItem(item_id="i", kind="live", title="t", at=NOW)
    start = SessionStart(session_id="s", user_id="üser", at=NOW)
    place = client.publish_listen(listen)
    client.publish_item(item)
    client.remove_item("i")
    client.publish_session_start(start)
    client.erase_user("üser", NOW)
    client.erase_user("üser")
    client.flush()
    assert place.get().offset == 0
    topics = client.topics
    (record,) = read(kafka, topics.listens, 1)
    assert (
        Listen(**{name: getattr(decode_listen(record.key, record.value, NOW), name) for name in Listen.model_fields})
        == listen
    )
    first, second = read(kafka, topics.catalog_items, 2)
    assert decode_catalog_item(first.key, first.value, NOW) == item
    assert decode_catalog_item(second.key, second.value, NOW) is None
    (record,) = read(kafka, topics.session_starts, 1)
    assert decode_session_start(record.key, record.value, NOW) == start
    first, second = (
        decode_user_erasure(record.key, record.value, record.timestamp)
        for record in read(kafka, topics.user_erasures, 2)
    )
    assert (first.user_id, first.at) == ("üser", NOW)
    assert second.at > NOW
    assert first.erasure_id != second.erasure_id


def test_flush_raises_if_a_record_was_not_delivered(client: SidestreamClient) -> None:
    # Larger than the broker takes, but not than the producer does.
    client.publish_item(CatalogItem(item_id="i", kind="track", description="x" * 1_200_000, at=NOW))
    with pytest.raises(BrokerError, match="MessageSizeTooLarge"):
        client.flush()
    client.flush()
    with pytest.raises(BrokerError, match=r"catalog-items\.v1.*MessageSizeTooLarge"):
        client.publish_item(CatalogItem(item_id="i", kind="track", description="x" * 3_000_000, at=NOW))


def test_consume_candidates_returns_each_set_once(kafka: RunningBroker, client: SidestreamClient) -> None:
    sets = [answer(SessionStart(session_id=f"s{number}", user_id="u", at=NOW)) for number in range(3)]
    publish_answers(kafka, client, sets[0])
    with client.consume_candidates() as live, client.consume_candidates(from_start=True) as all_of_them:
        publish_answers(kafka, client, sets[0], sets[1], sets[1], sets[2], sets[0])
        for stream, expected, repeats in ((live, sets, 2), (all_of_them, sets, 3)):
            found = [found for _, found in zip(range(3), stream.within(DEADLINE_S), strict=False)]
            assert found == expected
            deadline = time.monotonic() + DEADLINE_S
            while stream.repeats < repeats and time.monotonic() < deadline:
                assert stream.poll(100) == []
            assert stream.repeats == repeats


def test_consume_candidates_skips_and_counts_malformed_sets(kafka: RunningBroker, client: SidestreamClient) -> None:
    producer = Clients(kafka.kafka).producer()
    producer.send(client.topics.candidates.name, key=b"u", value=b"{}").get(timeout=DEADLINE_S)
    producer.close()
    good = answer(SessionStart(session_id="s", user_id="u", at=NOW))
    publish_answers(kafka, client, good)
    with client.consume_candidates(from_start=True) as stream:
        assert next(stream.within(DEADLINE_S)) == good
        assert stream.unreadable == 1


def test_consume_candidates_in_a_group_resumes_where_it_stopped(kafka: RunningBroker, client: SidestreamClient) -> None:
    sets = [answer(SessionStart(session_id=f"s{number}", user_id="u", at=NOW)) for number in range(2)]
    publish_answers(kafka, client, sets[0])
    group = client.topics.candidates.name
    with client.consume_candidates(group, from_start=True) as stream:
        assert next(stream.within(DEADLINE_S)) == sets[0]
        stream.poll(100)  # polling again commits the first set
    publish_answers(kafka, client, sets[1])
    with client.consume_candidates(group, from_start=True) as stream:
        assert next(stream.within(DEADLINE_S)) == sets[1]
        assert stream.repeats == 0


def test_consume_candidates_needs_its_topic(kafka: RunningBroker) -> None:
    client = SidestreamClient(kafka.kafka, TopicSettings(prefix="never-made-"))
    with pytest.raises(TopicError, match="never-made-candidates"):
        client.consume_candidates()


@pytest.mark.usefixtures("worker")
def test_request_candidates_gets_the_answer_to_its_own_request(client: SidestreamClient) -> None:
    for number in range(2):
        start = SessionStart(session_id=f"s{number}", user_id="u", at=NOW)
        assert client.request_candidates(start, DEADLINE_S) == answer(start)


def test_request_candidates_raises_without_an_answer(client: SidestreamClient) -> None:
    with pytest.raises(BrokerError, match=r"no candidates for session 's' within 0\.5 s"):
        client.request_candidates(SessionStart(session_id="s", user_id="u", at=NOW), timeout_s=0.5)


def test_read_catalogue_gives_the_latest_value_of_items_that_are_there(
    kafka: RunningBroker, client: SidestreamClient
) -> None:
    assert client.read_catalogue() == {}
    producer = Clients(kafka.kafka).producer()
    for item_id, title in (("a", "old"), ("b", "gone"), ("a", "new"), ("b", None), ("ü", "other")):
        body = None if title is None else value(item_id, title=title)
        producer.send(client.topics.item_sids.name, key=item_id.encode(), value=body)
    producer.flush(timeout=DEADLINE_S)
    producer.close()
    catalogue = client.read_catalogue()
    assert {item_id: item.title for item_id, item in catalogue.items()} == {"a": "new", "ü": "other"}


@pytest.mark.parametrize("place", ["127.0.0.1:9", "demo.toml"])
def test_an_example_finds_its_kafka_by_address_or_settings_file(monkeypatch, tmp_path, place) -> None:
    (tmp_path / "demo.toml").write_text('kafka.bootstrap = "127.0.0.1:9"\ntopics.prefix = "demo-"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["example", place])
    monkeypatch.setattr(connecting, "require_answer", lambda kafka: None)
    with open_client() as opened:
        assert opened.topics.listens.name == ("demo-" if place.endswith("toml") else "") + "listen-events.v1"


def test_an_example_without_an_argument_uses_the_local_broker_that_commands_find(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["example"])
    with pytest.raises(BrokerError, match="sidestream broker start"):
        open_client()
    monkeypatch.setattr(
        connecting, "find_broker", lambda _: BrokerStatus("embedded", True, "127.0.0.1:9", data_dir=str(tmp_path))
    )
    with open_client() as opened:
        assert opened.topics.listens.name == "listen-events.v1"
