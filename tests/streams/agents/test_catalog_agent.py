import asyncio
import json
import threading
from types import SimpleNamespace

import pytest
from aiokafka.errors import MessageSizeTooLargeError, ProducerClosed
from test_tokenizing import FakeEncoder

from models.records import ItemSids
from streams.agents.catalog import CatalogAgent
from streams.agents.settings import AgentSettings
from streams.agents.sources import Source
from streams.connect import Clients, KafkaSettings
from streams.contracts.decode import Limits
from streams.contracts.settings import TopicSettings
from streams.contracts.topics import build_topics
from streams.errors import LaneError
from streams.lane.group.faust_app import make_faust_app
from streams.lane.metrics import LaneCounts
from streams.lane.settings import LaneSettings
from streams.metrics import Metrics

TOPICS = build_topics(TopicSettings())
SIDS, DLQ = TOPICS.item_sids.name, TOPICS.catalog_items.name + ".dlq"


class FakeProducer:
    settings = KafkaSettings(bootstrap="127.0.0.1:1", session_timeout_ms=10_000)

    def __init__(self):
        self.sent, self.is_open = [], True

    def async_producer(self, **settings):
        return self

    async def start(self):
        pass

    async def stop(self):
        self.is_open = False

    async def send(self, topic, value, key, headers):
        if not self.is_open:
            raise ProducerClosed
        self.sent.append((topic, key))
        return asyncio.sleep(0)


class FakeStream:
    """The stream of a Faust agent over events that are all there at once."""

    def __init__(self, *item_ids):
        self.all = [SimpleNamespace(message=source(place, item_id)) for place, item_id in enumerate(item_ids)]
        self.acked = []

    def noack(self):
        return self

    async def events(self):
        for event in self.all:
            yield event

    async def ack(self, event):
        self.acked.append(event.message.offset)


class SlowEncoder(FakeEncoder):
    def __init__(self):
        super().__init__()
        self.begun, self.released = threading.Event(), threading.Event()

    def encode_items(self, items):
        self.begun.set()
        assert self.released.wait(10)
        return super().encode_items(items)


@pytest.fixture
def make(tmp_path):
    def build(clients=None, encoder=None, seconds=lambda: 0.0, **settings):
        kafka = Clients(KafkaSettings(bootstrap="127.0.0.1:1"))
        app = make_faust_app("test", kafka, LaneSettings(), tmp_path, LaneCounts())
        agent_settings = AgentSettings(**{"batch_ms": 1, **settings})
        return CatalogAgent(
            app, clients or kafka, TOPICS, encoder or FakeEncoder(), Limits(), agent_settings, Metrics(), seconds
        )

    return build


@pytest.fixture
def agent(make):
    return make()


def source(offset, item_id, value="item"):
    if value == "item":
        value = json.dumps({"item_id": item_id, "kind": "track", "title": "T", "at": 1}).encode()
    return Source(TOPICS.catalog_items.name, 0, offset, 1, item_id.encode(), value, [])


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


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_events_are_acked_once_their_values_are(make):
    producer = FakeProducer()
    agent = make(producer)
    await agent.start()
    stream = FakeStream("a", "b", "c")
    await agent._take(stream)
    await until(lambda: len(stream.acked) == 3)
    assert producer.sent == [(SIDS, b"a"), (SIDS, b"b"), (SIDS, b"c")]
    await agent.stop()


async def test_an_event_that_waits_for_room_in_the_inbox_does_not_outlive_a_revocation(make):
    """Written by the old owner after the new one's value, it could become the only one of its key."""
    producer = FakeProducer()
    agent = make(producer, max_batch=1)
    old, new = FakeStream("a", "b", "c"), FakeStream("d")
    taking = asyncio.create_task(agent._take(old))
    await until(agent._inbox.full)
    await asyncio.sleep(0)
    assert not taking.done()  # the third one waits
    await agent._on_revoked()
    await taking
    await agent.start()
    await agent._take(new)
    await until(lambda: new.acked)
    assert producer.sent == [(SIDS, b"d")]
    assert old.acked == []
    await agent.stop()


async def test_a_revocation_waits_for_the_batch_under_way_and_says_so_if_that_takes_too_long(make, monkeypatch):
    encoder, producer = SlowEncoder(), FakeProducer()
    agent = make(producer, encoder)
    await agent.start()
    stream = FakeStream("a")
    await agent._take(stream)
    await until(encoder.begun.is_set)
    monkeypatch.setattr("streams.agents.catalog._REVOKE_WAIT_S", 0.01)
    with pytest.raises(LaneError, match="did not end within"):
        await agent._on_revoked()
    monkeypatch.setattr("streams.agents.catalog._REVOKE_WAIT_S", 10.0)
    revoking = asyncio.create_task(agent._on_revoked())
    encoder.released.set()
    await revoking
    assert stream.acked == [0]
    await agent.stop()


async def test_a_stop_lets_the_batch_under_way_end_before_the_producer_goes(make):
    encoder, producer = SlowEncoder(), FakeProducer()
    agent = make(producer, encoder, max_batch=1)
    await agent.start()
    stream = FakeStream("a", "b")
    await agent._take(stream)
    await until(encoder.begun.is_set)
    stopping = asyncio.create_task(agent.stop())
    await until(lambda: agent.should_stop)
    encoder.released.set()
    await stopping
    assert not agent.crashed
    assert producer.sent == [(SIDS, b"a")]
    assert stream.acked == [0]


async def test_a_process_that_slept_past_its_session_writes_nothing_more(make):
    """Somebody else has its partitions by then, and may have removed what it is about to write."""
    encoder, producer, now_s = SlowEncoder(), FakeProducer(), [0.0]
    agent = make(producer, encoder, seconds=lambda: now_s[0])
    await agent.start()
    stream = FakeStream("a")
    await agent._take(stream)
    await until(encoder.begun.is_set)
    now_s[0] = 8.5
    encoder.released.set()
    await until(lambda: agent.crashed)
    assert isinstance(agent.crash_reason, LaneError)
    assert "8.5 s" in str(agent.crash_reason)
    assert producer.sent == stream.acked == []
    await agent.stop()


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
        names = {"topic": TOPICS.catalog_items.name, "partition": 0, "offset": offset, "timestamp": 0.001}
        return SimpleNamespace(key=b"a", value=value, headers=[], **names)

    await agent._process(Producer(), [message(0, None)])
    # Not acked by `_work`: the events come again after the restart.
    with pytest.raises(LaneError, match=r"catalog-items\.v1\.dlq"):
        await agent._process(Producer(), [message(0, None), message(1, b"{")])


def records(agent):
    return lambda sources: [(SIDS, s.key, b"anew", []) for s in sources]


async def test_what_is_written_anew_gives_way_to_newer_events(make):
    producer = FakeProducer()
    agent = make(producer)
    await agent.start()
    agent.watch(0)
    stream = FakeStream("a", "b")  # offsets 0 and 1
    await agent._take(stream)
    await until(lambda: len(stream.acked) == 2)
    older = [source(0, "a"), source(5, "b"), source(0, "c")]
    assert await agent.rewrite(agent.epoch, older, records(agent)) == 2
    assert producer.sent[2:] == [(SIDS, b"b"), (SIDS, b"c")]
    await agent.stop()


async def test_events_and_what_is_written_anew_take_turns_to_the_end(make):
    producer = FakeProducer()
    agent = make(producer, max_batch=3)
    await agent.start()
    agent.watch(0)
    stream = FakeStream(*(f"i{n}" for n in range(200)))
    taking = asyncio.create_task(agent._take(stream))
    old = [[source(n, f"i{n}"), source(500 + n, f"old{n}")] for n in range(60)]
    done = [await agent.rewrite(agent.epoch, batch, records(agent)) for batch in old]
    await taking
    await until(lambda: len(stream.acked) == 200)
    assert stream.acked == sorted(stream.acked)
    assert None not in done
    assert len({key for _, key in producer.sent}) == 260
    await agent.stop()


async def test_nothing_is_written_anew_after_a_revocation(make):
    producer = FakeProducer()
    agent = make(producer)
    await agent.start()
    agent.watch(0)
    epoch = agent.epoch
    await agent._on_revoked()
    assert await agent.rewrite(epoch, [source(1, "a")], records(agent)) is None
    assert producer.sent == []
    await agent.stop()


async def test_a_revocation_waits_for_what_is_being_written_anew(make):
    producer = FakeProducer()
    agent = make(producer)
    await agent.start()
    agent.watch(0)
    begun, released = threading.Event(), threading.Event()

    def slow(sources):
        begun.set()
        assert released.wait(10)
        return [(SIDS, s.key, b"anew", []) for s in sources]

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


async def test_a_paused_process_writes_nothing_anew(make):
    now = [0.0]
    agent = make(FakeProducer(), seconds=lambda: now[0])
    agent._producer = agent._clients
    agent.watch(0)
    now[0] = 9.0  # the session ends after 10 s; 8 s are the limit
    with pytest.raises(LaneError, match="stood still"):
        await agent.rewrite(agent.epoch, [source(1, "a")], records(agent))
    assert agent._clients.sent == []


async def test_batches_wait_while_the_agent_may_not_work(make):
    producer = FakeProducer()
    agent = make(producer)
    agent.may_work.clear()
    await agent.start()
    stream = FakeStream("a")
    await agent._take(stream)
    for _ in range(50):
        await asyncio.sleep(0)
    assert producer.sent == []
    assert agent.work().waiting == 0
    agent.may_work.set()
    await until(lambda: stream.acked == [0])
    await agent.stop()
