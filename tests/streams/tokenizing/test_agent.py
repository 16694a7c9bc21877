from types import SimpleNamespace

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from sidestream.models.records import ItemSids
from sidestream.streams.errors import LaneError
from tests.streams.tokenizing.agent_rig import DLQ, SIDS, TOPICS, source


def test_items_tombstones_and_bad_records_keep_their_order(agent):
    made = agent._make_records(
        [source(0, "a"), source(1, "b", None), source(2, "c", b"{"), source(3, "a"), source(4, "poison")]
    )
    assert [(topic, key) for topic, key, *_ in made] == [
        (SIDS, b"a"),
        (SIDS, b"b"),
        (DLQ, b"c"),
        (SIDS, b"a"),
        (DLQ, b"poison"),
    ]
    assert made[1][2] is None
    assert made[2][2] == b"{"
    assert [ItemSids.from_json(made[place][2]).source_offset for place in (0, 3)] == [0, 3]
    assert dict(made[4][3])["__streams.errors.reason"] == b"bad_value"


def test_no_records_make_no_records(agent):
    assert agent._make_records([]) == []


def test_an_item_that_numpy_or_a_codec_rejects_is_the_only_dead_letter(agent):
    made = agent._make_records([source(0, "a"), source(1, "odd"), source(2, "b")])
    assert [(topic, key) for topic, key, *_ in made] == [(SIDS, b"a"), (DLQ, b"odd"), (SIDS, b"b")]
    assert dict(made[1][3])["__streams.errors.reason"] == b"bad_value"


def test_a_broken_encoder_makes_no_dead_letters(agent):
    def broken(items):
        raise OSError("the model's file is gone")

    agent.record_maker.tokenize.args[0].encode_items = broken
    with pytest.raises(OSError, match="gone"):
        agent._make_records([source(0, "a"), source(1, "b")])


async def test_a_dead_letter_that_kafka_rejects_fails_its_batch(agent):
    class Producer:
        async def send(self, records, is_wanted):
            if any(topic == DLQ for topic, *_ in records):
                raise MessageSizeTooLargeError
            return True

    def message(offset, value):
        names = {"topic": TOPICS.catalog_items.name, "partition": 0, "offset": offset, "timestamp": 1_700_000_000.0}
        return SimpleNamespace(key=b"a", value=value, headers=[], **names)

    class Stream:
        def __init__(self):
            self.acked = []

        async def ack(self, event):
            self.acked.append(event.message.offset)

    def batch(stream, *messages):
        return [(0, stream, SimpleNamespace(message=one)) for one in messages]

    stream = Stream()
    agent.sender.producer = Producer()
    await agent._process_batch(batch(stream, message(0, None)))
    assert stream.acked == [0]
    # Not acked: the events are delivered again after the restart.
    with pytest.raises(LaneError, match=r"catalog-items\.v1\.dlq"):
        await agent._process_batch(batch(stream, message(1, None), message(2, b"{")))
    assert stream.acked == [0]
