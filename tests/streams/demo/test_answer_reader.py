"""Answers and items read from a real Kafka into the ledger."""

import time

import pytest

from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.demo.ledger import Ledger
from sidestream.streams.demo.play import AnswerReader
from sidestream.streams.errors import TopicError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import RecordFollower
from tests.streams.demo.published import answer_of, heard, start_of, value

pytestmark = pytest.mark.broker
DEADLINE_S = 30.0


@pytest.fixture
def topics(make_topics):
    prefix = make_topics(user_partitions=2, item_partitions=2).listens.name.removesuffix("listen-events.v1")
    return TopicSettings(prefix=prefix, user_partitions=2, item_partitions=2)


@pytest.fixture
def reading(kafka, topics):
    ledger = Ledger()
    reader = AnswerReader(kafka.kafka, topics, ledger)
    producer = Clients(kafka.kafka).producer()

    def send(name, key, body, partition=None):
        return producer.send(topics.prefix + name, key=key, value=body, partition=partition).get(timeout=DEADLINE_S)

    yield ledger, reader, send
    producer.close()
    reader.close()


def test_a_set_that_comes_before_its_items_is_judged_when_they_have_come(reading):
    ledger, reader, send = reading
    start = start_of()
    ledger.asking(start)
    send("candidates.v1", b"u", answer_of("a", start=start, offsets=(0, 1)).to_json())
    send("candidates.v1", b"u", answer_of("a", start=start, offsets=(0, 1)).to_json())
    reader.wait(0.5)
    assert (ledger.num_answered, ledger.unjudged) == (1, 1), "not judged by what is not known yet"
    send("item-sids.v1", b"a", value("a"), partition=1)
    reader.wait(DEADLINE_S)
    assert (ledger.unanswered, ledger.unjudged, ledger.faults) == (0, 0, [])


def test_a_set_is_judged_by_the_listens_that_its_state_held(reading):
    ledger, reader, send = reading
    send("item-sids.v1", b"a", value("a"), partition=0)
    begun = send("listen-events.v1", b"u", heard("a", 0).value)
    sets = [(start_of(name), begun.offset) for name in ("one", "two")]
    for start, watermark in sets:
        ledger.asking(start)
        send("candidates.v1", b"u", answer_of("a", start=start, offsets=(1, 0), state_watermark=watermark).to_json())
    reader.wait(DEADLINE_S)
    assert [fault.why for fault in ledger.faults] == ["was in the listener's history"] * 2


def test_waiting_ends_when_nothing_comes_any_more(reading):
    ledger, reader, _ = reading
    ledger.asking(start_of())
    begun_s = time.monotonic()
    reader.wait(0.3)
    assert time.monotonic() - begun_s >= 0.3
    assert ledger.unanswered == 1


def test_a_topic_that_is_not_there_cannot_be_followed(kafka):
    with pytest.raises(TopicError, match="topics list"):
        RecordFollower(Clients(kafka.kafka), "never-made")
