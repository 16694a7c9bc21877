import asyncio
import threading

import pytest

from sidestream.streams.errors import LaneError
from tests.streams.tokenizing.agent_rig import SIDS, FakeKafka, FakeStream, source, until


def records(agent):
    return lambda sources: [(SIDS, s.key, b"rewritten", []) for s in sources]


async def test_rewritten_values_never_replace_those_of_newer_events(make_agent):
    producer = FakeKafka()
    agent = make_agent(producer)
    await agent.start()
    agent.watch(0)
    stream = FakeStream("a", "b")  # offsets 0 and 1
    await agent._enqueue(stream)
    await until(lambda: len(stream.acked) == 2)
    older = [source(0, "a"), source(5, "b"), source(0, "c")]
    assert await agent.rewrite(agent.epoch, older, records(agent)) == 2
    assert producer.sent[2:] == [(SIDS, b"b"), (SIDS, b"c")]
    await agent.stop()


async def test_events_and_rewrites_alternate_until_both_are_done(make_agent):
    producer = FakeKafka()
    agent = make_agent(producer, max_batch=3)
    await agent.start()
    agent.watch(0)
    stream = FakeStream(*(f"i{n}" for n in range(200)))
    taking = asyncio.create_task(agent._enqueue(stream))
    old = [[source(n, f"i{n}"), source(500 + n, f"old{n}")] for n in range(60)]
    done = [await agent.rewrite(agent.epoch, batch, records(agent)) for batch in old]
    await taking
    await until(lambda: len(stream.acked) == 200)
    assert stream.acked == sorted(stream.acked)
    assert None not in done
    assert len({key for _, key in producer.sent}) == 260
    await agent.stop()


async def test_nothing_is_rewritten_after_a_revocation(make_agent):
    producer = FakeKafka()
    agent = make_agent(producer)
    await agent.start()
    agent.watch(0)
    epoch = agent.epoch
    await agent._on_revoked()
    assert await agent.rewrite(epoch, [source(1, "a")], records(agent)) is None
    assert producer.sent == []
    await agent.stop()


async def test_a_revocation_waits_for_a_rewrite_in_flight(make_agent):
    producer = FakeKafka()
    agent = make_agent(producer)
    await agent.start()
    agent.watch(0)
    begun, released = threading.Event(), threading.Event()

    def slow(sources):
        begun.set()
        assert released.wait(10)
        return [(SIDS, s.key, b"rewritten", []) for s in sources]

    writing = asyncio.create_task(agent.rewrite(agent.epoch, [source(1, "a")], slow))
    await until(begun.is_set)
    revoked = asyncio.create_task(agent._on_revoked())
    await asyncio.sleep(0)
    assert not revoked.done()
    released.set()
    await revoked
    assert writing.done()
    assert producer.sent == [(SIDS, b"a")]
    await agent.stop()


async def test_a_paused_process_rewrites_nothing(make_agent):
    now = [0.0]
    producer = FakeKafka()
    agent = make_agent(producer, seconds=lambda: now[0])
    agent.watch(0)
    now[0] = 9.0  # the session ends after 10 s; 8 s are the limit
    with pytest.raises(LaneError, match="was paused"):
        await agent.rewrite(agent.epoch, [source(1, "a")], records(agent))
    assert producer.sent == []
