import asyncio

from aiokafka.errors import LeaderNotAvailableError

from sidestream.streams.errors import LaneError
from tests.streams.tokenizing.agent_rig import SIDS, FakeKafka, FakeStream, SlowEncoder, until


async def test_events_are_acked_once_their_values_are(make_agent):
    producer = FakeKafka()
    agent = make_agent(producer)
    await agent.start()
    stream = FakeStream("a", "b", "c")
    await agent._enqueue(stream)
    await until(lambda: len(stream.acked) == 3)
    assert producer.sent == [(SIDS, b"a"), (SIDS, b"b"), (SIDS, b"c")]
    await agent.stop()


async def test_an_event_waiting_for_inbox_space_is_dropped_by_a_revocation(make_agent):
    """Written by the previous owner after the new owner's value, it could become the only value of its key."""
    producer = FakeKafka()
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


async def test_a_revocation_waits_for_the_batch_in_flight_up_to_a_deadline(make_agent, monkeypatch):
    encoder, producer = SlowEncoder(), FakeKafka()
    agent = make_agent(producer, encoder)
    await agent.start()
    stream = FakeStream("a")
    await agent._enqueue(stream)
    await until(encoder.begun.is_set)
    revoking = asyncio.create_task(agent._on_revoked())
    await asyncio.sleep(0)
    encoder.released.set()
    await revoking
    assert stream.acked == [0]
    await agent.stop()


async def test_a_batch_that_outlasts_a_revocation_is_abandoned(make_agent, monkeypatch):
    """Another worker owns its partitions by then, and gets the events again."""
    encoder, producer = SlowEncoder(), FakeKafka()
    agent = make_agent(producer, encoder)
    await agent.start()
    stream = FakeStream("a")
    await agent._enqueue(stream)
    await until(encoder.begun.is_set)
    monkeypatch.setattr("sidestream.streams.tokenizing.agent._REVOKE_WAIT_S", 0.01)
    await agent._on_revoked()
    encoder.released.set()
    await until(lambda: agent._idle.is_set() and not agent.write_lock.locked())
    assert producer.sent == stream.acked == []
    again = FakeStream("b")
    await agent._enqueue(again)
    await until(lambda: again.acked == [0])
    assert producer.sent == [(SIDS, b"b")]
    assert not agent.crashed
    await agent.stop()


async def test_a_batch_whose_acknowledgement_is_lost_is_abandoned_at_a_revocation(make_agent, monkeypatch):
    producer = FakeKafka()
    agent = make_agent(producer)
    await agent.start()
    producer.answers = ["lost"]
    stream = FakeStream("a")
    await agent._enqueue(stream)
    await until(lambda: not producer.answers)
    monkeypatch.setattr("sidestream.streams.tokenizing.agent._REVOKE_WAIT_S", 0.01)
    await agent._on_revoked()
    await until(agent._idle.is_set)
    assert producer.sent == stream.acked == []
    assert producer.producers[0]._closed
    await agent.stop()


async def test_a_batch_waits_for_brokers_that_are_away(make_agent):
    producer = FakeKafka()
    agent = make_agent(producer)
    await agent.start()
    producer.answers = [LeaderNotAvailableError(), "dead"]
    stream = FakeStream("a")
    await agent._enqueue(stream)
    await until(lambda: agent.sender.is_waiting)
    assert agent.work().waiting == 0
    assert not agent.is_able
    await until(lambda: stream.acked == [0])
    assert producer.sent == [(SIDS, b"a")]
    await until(lambda: agent.is_able)
    await agent.stop()


async def test_a_stop_lets_the_batch_in_flight_end_before_the_producer_closes(make_agent):
    encoder, producer = SlowEncoder(), FakeKafka()
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


async def test_a_process_paused_past_its_session_writes_nothing(make_agent):
    """Another worker owns its partitions by then, and may have removed the item."""
    encoder, producer, now_s = SlowEncoder(), FakeKafka(), [0.0]
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
    producer = FakeKafka()
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
