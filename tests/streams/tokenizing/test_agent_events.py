import asyncio

import pytest

from sidestream.streams.errors import LaneError
from tests.streams.tokenizing.agent_rig import SIDS, FakeProducer, FakeStream, SlowEncoder, until


async def test_events_are_acked_once_their_values_are(make_agent):
    producer = FakeProducer()
    agent = make_agent(producer)
    await agent.start()
    stream = FakeStream("a", "b", "c")
    await agent._enqueue(stream)
    await until(lambda: len(stream.acked) == 3)
    assert producer.sent == [(SIDS, b"a"), (SIDS, b"b"), (SIDS, b"c")]
    await agent.stop()


async def test_an_event_that_waits_for_room_in_the_inbox_does_not_outlive_a_revocation(make_agent):
    """Written by the old owner after the new one's value, it could become the only one of its key."""
    producer = FakeProducer()
    agent = make_agent(producer, max_batch=1)
    old, new = FakeStream("a", "b", "c"), FakeStream("d")
    taking = asyncio.create_task(agent._enqueue(old))
    await until(agent._inbox.full)
    await asyncio.sleep(0)
    assert not taking.done()  # the third one waits
    await agent._on_revoked()
    await taking
    await agent.start()
    await agent._enqueue(new)
    await until(lambda: new.acked)
    assert producer.sent == [(SIDS, b"d")]
    assert old.acked == []
    await agent.stop()


async def test_a_revocation_waits_for_the_batch_under_way_and_says_so_if_that_takes_too_long(make_agent, monkeypatch):
    encoder, producer = SlowEncoder(), FakeProducer()
    agent = make_agent(producer, encoder)
    await agent.start()
    stream = FakeStream("a")
    await agent._enqueue(stream)
    await until(encoder.begun.is_set)
    monkeypatch.setattr("sidestream.streams.tokenizing.agent._REVOKE_WAIT_S", 0.01)
    with pytest.raises(LaneError, match="did not end within"):
        await agent._on_revoked()
    monkeypatch.setattr("sidestream.streams.tokenizing.agent._REVOKE_WAIT_S", 10.0)
    revoking = asyncio.create_task(agent._on_revoked())
    encoder.released.set()
    await revoking
    assert stream.acked == [0]
    await agent.stop()


async def test_a_stop_lets_the_batch_under_way_end_before_the_producer_goes(make_agent):
    encoder, producer = SlowEncoder(), FakeProducer()
    agent = make_agent(producer, encoder, max_batch=1)
    await agent.start()
    stream = FakeStream("a", "b")
    await agent._enqueue(stream)
    await until(encoder.begun.is_set)
    stopping = asyncio.create_task(agent.stop())
    await until(lambda: agent.should_stop)
    encoder.released.set()
    await stopping
    assert not agent.crashed
    assert producer.sent == [(SIDS, b"a")]
    assert stream.acked == [0]


async def test_a_process_that_slept_past_its_session_writes_nothing_more(make_agent):
    """Somebody else has its partitions by then, and may have removed what it is about to write."""
    encoder, producer, now_s = SlowEncoder(), FakeProducer(), [0.0]
    agent = make_agent(producer, encoder, seconds=lambda: now_s[0])
    await agent.start()
    stream = FakeStream("a")
    await agent._enqueue(stream)
    await until(encoder.begun.is_set)
    now_s[0] = 8.5
    encoder.released.set()
    await until(lambda: agent.crashed)
    assert isinstance(agent.crash_reason, LaneError)
    assert "8.5 s" in str(agent.crash_reason)
    assert producer.sent == stream.acked == []
    await agent.stop()


async def test_batches_wait_while_the_agent_may_not_work(make_agent):
    producer = FakeProducer()
    agent = make_agent(producer)
    agent.may_work.clear()
    await agent.start()
    stream = FakeStream("a")
    await agent._enqueue(stream)
    for _ in range(50):
        await asyncio.sleep(0)
    assert producer.sent == []
    assert agent.work().waiting == 0
    agent.may_work.set()
    await until(lambda: stream.acked == [0])
    await agent.stop()
