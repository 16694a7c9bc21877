"""Following topics: missing topics at the start, changes while following, and the service on top of it."""

import asyncio

import pytest

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import AccessError, BrokerError, TopicError
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.lasting.service import FollowingService
from sidestream.streams.kafka.read_rules import Place, keep_last
from tests.streams.kafka.model_log import Cluster, Log
from tests.streams.kafka.readers import KINDS, T0, T1, opened, settle

both_kinds = pytest.mark.parametrize("kind", KINDS)


async def take(follower, polls=20):
    """Offsets by partition returned by some polls."""
    found = {}
    for _ in range(polls):
        for place, records in await settle(follower.poll(100)):
            found.setdefault(place, []).extend(record.offset for record in records)
    return found


@both_kinds
async def test_a_missing_topic_is_reported_and_the_consumer_closed(kind):
    cluster = Cluster(t=1)
    if kind == "async":
        unopened = Follower(cluster, {"t": [0], "absent": [0]}, seconds=cluster.seconds)
        with pytest.raises(TopicError, match="expected topic absent at memory:0, got none"):
            await unopened.open()
    else:
        with pytest.raises(TopicError, match="expected topic absent at memory:0, got none"):
            async with opened(kind, cluster, {"t": [0], "absent": None}):
                pass
    assert cluster.consumers[-1].is_closed


@both_kinds
async def test_a_missing_partition_is_reported(kind):
    cluster = Cluster(t=2)
    with pytest.raises(TopicError, match=r"expected t/5, got no such partition of 2"):
        async with opened(kind, cluster, {"t": [0, 5]}):
            pass
    assert cluster.consumers[-1].is_closed


async def test_a_topic_that_was_just_created_is_waited_for():
    cluster = Cluster()

    async def make():
        while not cluster.consumers:
            await asyncio.sleep(0)
        cluster.topics["t"] = [Log()]

    making = asyncio.create_task(make())
    async with Follower(cluster, {"t": [0]}, seconds=cluster.seconds) as follower:
        assert follower.positions == {T0: 0}
    await making


@both_kinds
async def test_kafka_that_does_not_answer_at_the_start_is_an_error(kind):
    cluster = Cluster(t=1)
    cluster.is_silent = True
    with pytest.raises(BrokerError, match=r"memory:0.*cannot be read: .*no answer"):
        async with opened(kind, cluster, {"t": [0]}):
            pass
    assert cluster.consumers[-1].is_closed


@both_kinds
async def test_missing_permissions_raise_access_error(kind):
    cluster = Cluster(t=1)
    async with opened(kind, cluster, {"t": [0]}) as follower:
        cluster.failures = [cluster.consumers[-1].errors.TopicAuthorizationFailedError("t")]
        with pytest.raises(AccessError, match=r"we may not read t/0 at offset 0 .*allow READ and DESCRIBE"):
            await take(follower)


@both_kinds
async def test_later_records_are_returned_and_positions_advance(kind):
    cluster = Cluster(t=2)
    cluster.fill(2)
    async with opened(kind, cluster, {"t": [0, 1]}) as follower:
        assert await take(follower) == {T0: [0, 1]}
        cluster.fill(2)
        cluster.fill(1, partition=1)
        assert await settle(follower.ends()) == {T0: 4, T1: 1}
        assert await take(follower) == {T0: [2, 3], T1: [0]}
        assert follower.positions == {T0: 4, T1: 1}


@both_kinds
async def test_following_can_start_at_the_end(kind):
    cluster = Cluster(t=1)
    cluster.fill(5)
    async with opened(kind, cluster, {"t": [0]}, start="end") as follower:
        cluster.fill(1)
        assert await take(follower) == {T0: [5]}


@both_kinds
async def test_new_partitions_are_read_from_their_beginning_and_others_continue(kind):
    cluster = Cluster(t=1)
    cluster.fill(4)
    async with opened(kind, cluster, {"t": None}) as follower:
        assert await take(follower) == {T0: [0, 1, 2, 3]}
        cluster.topics["t"].append(Log())
        cluster.fill(3, partition=1)
        cluster.fill(1)
        assert await take(follower) == {T0: [4], T1: [0, 1, 2]}
        assert set(await settle(follower.ends())) == {T0, T1}


@both_kinds
async def test_given_partitions_do_not_grow(kind):
    cluster = Cluster(t=2)
    cluster.fill(1, partition=1)
    async with opened(kind, cluster, {"t": [0]}) as follower:
        assert await take(follower) == {}


@both_kinds
async def test_a_recreated_topic_is_read_again_from_its_beginning(kind, caplog):
    cluster = Cluster(t=2)
    cluster.fill(9)
    cluster.fill(2, partition=1)
    async with opened(kind, cluster, {"t": [0, 1]}) as follower:
        await take(follower)
        cluster.topics["t"][0] = Log()
        cluster.fill(2)
        cluster.fill(1, partition=1)
        assert await take(follower) == {T0: [0, 1], T1: [2]}
    again = "t/0: topic recreated or truncated, read from its beginning: position 9, offsets 0 to 2"
    assert caplog.messages == [again]


@both_kinds
async def test_a_follower_waits_for_an_unavailable_broker(kind):
    cluster = Cluster(t=1)
    cluster.fill(1)
    async with opened(kind, cluster, {"t": [0]}) as follower:
        cluster.is_silent = True
        assert await take(follower, polls=2_000) == {}
        cluster.is_silent = False
        assert await take(follower) == {T0: [0]}


async def test_a_closed_reader_raises():
    cluster = Cluster(t=1)
    follower = Follower(cluster, {"t": [0]})
    with pytest.raises(BrokerError, match="expected an open reader of t, got a closed one"):
        await follower.poll(0)
    await follower.open()
    await follower.close()
    await follower.close()
    assert not follower.is_open
    assert follower.positions == {T0: 0}


async def test_positions_can_be_set_after_the_bounds_are_known():
    cluster = Cluster(t=2)
    cluster.fill(5)
    cluster.fill(5, partition=1)
    async with Follower(cluster, {"t": [0, 1]}, start=None) as follower:
        follower.seek({place: end - 1 for place, (_, end) in follower.bounds.items()})
        follower.set_targets(await follower.ends())
        assert follower.behind == 2
        assert await take(follower) == {T0: [4], T1: [4]}
        assert follower.is_caught_up


class Noting(FollowingService):
    def __init__(self, clients, *topics):
        super().__init__(clients, "tests", *topics)
        self.found = []
        self.news = asyncio.Event()

    def on_batches(self, batches):
        for place, records in batches:
            self.found += [(place, record.offset) for record in records]
        self.news.set()


async def test_a_service_follows_until_it_is_stopped():
    cluster = Cluster(a=1, b=2)
    cluster.fill(2, topic="a")
    polled = asyncio.Event()
    cluster.before_poll = lambda _: polled.set()
    topics = [TopicSpec(name, "key", None, count, True, {}) for name, count in (("a", 1), ("b", 2))]
    service = Noting(cluster, *topics)
    consumer_of = cluster.async_consumer

    def turning(**options):
        consumer = consumer_of(**options)
        getmany = consumer.getmany

        async def wait(**limits):
            await asyncio.sleep(0)
            return await getmany(**limits)

        consumer.getmany = wait
        return consumer

    cluster.async_consumer = turning
    await service.start()
    await asyncio.wait_for(service.news.wait(), 10)
    service.news.clear()
    cluster.fill(1, topic="b", partition=1)
    await asyncio.wait_for(service.news.wait(), 10)
    await service.stop()
    assert service.found == [(Place("a", 0), 0), (Place("a", 0), 1), (Place("b", 1), 0)]
    assert cluster.consumers[-1].is_closed


def test_last_values_of_a_compacted_topic():
    values = {b"kept": b"1"}
    record = type("Record", (), {})

    def of(key, value):
        made = record()
        made.key, made.value = key, value
        return made

    keep_last([of(b"a", b"1"), of(b"b", b"1"), of(b"a", b"2"), of(b"b", None), of(b"c", None)], values)
    assert values == {b"kept": b"1", b"a": b"2"}
