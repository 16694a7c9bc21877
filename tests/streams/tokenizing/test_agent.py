import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from sidestream.models.records import ItemSids
from sidestream.streams.errors import LaneError
from tests.streams.tokenizing.agent_rig import DLQ, SIDS, TOPICS, source


def test_items_tombstones_and_bad_records_leave_in_their_order(agent):
    made = agent._outgoing(
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


def test_nothing_in_is_nothing_out(agent):
    assert agent._outgoing([]) == []


def test_an_item_that_numpy_or_a_codec_chokes_on_costs_only_itself(agent):
    made = agent._outgoing([source(0, "a"), source(1, "odd"), source(2, "b")])
    assert [(topic, key) for topic, key, *_ in made] == [(SIDS, b"a"), (DLQ, b"odd"), (SIDS, b"b")]
    assert dict(made[1][3])["__streams.errors.reason"] == b"bad_value"


def test_an_encoder_that_cannot_work_at_all_buries_nothing(agent):
    def broken(items):
        raise OSError("the model's file is gone")

    agent.maker.tokenize.args[0].encode_items = broken
    with pytest.raises(OSError, match="gone"):
        agent._outgoing([source(0, "a"), source(1, "b")])


async def test_a_dead_letter_that_kafka_refuses_fails_its_batch(agent):
    class Producer:
        async def send(self, topic, value, key, headers):
            future = asyncio.get_running_loop().create_future()
            if topic == DLQ:
                future.set_exception(MessageSizeTooLargeError())
            else:
                future.set_result(None)
            return future

    def message(offset, value):
        names = {"topic": TOPICS.catalog_items.name, "partition": 0, "offset": offset, "timestamp": 1_700_000_000.0}
        return SimpleNamespace(key=b"a", value=value, headers=[], **names)

    await agent._process(Producer(), [message(0, None)])
    # Not acked by `_work`: the events come again after the restart.
    with pytest.raises(LaneError, match=r"catalog-items\.v1\.dlq"):
        await agent._process(Producer(), [message(0, None), message(1, b"{")])
