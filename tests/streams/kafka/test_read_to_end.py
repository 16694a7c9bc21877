"""Reading to the end: where the end is, which records are returned, and errors if the end cannot be reached."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.errors import BrokerError, TopicError
from sidestream.streams.kafka.read_rules import CHECK_ENDS_S, NO_PROGRESS_S, Place
from tests.streams.kafka.model_log import ABORTED, COMMITTED, MARKER, OPEN, Cluster, Log
from tests.streams.kafka.readers import KINDS, T0, T1, batches_of, offsets_to_end, opened

pytestmark = pytest.mark.parametrize("kind", KINDS)
FIXED = {"restarts": False}


async def test_the_end_is_the_last_stable_offset_and_aborted_records_are_hidden(kind):
    cluster = Cluster(t=1)
    for what in (COMMITTED, MARKER, ABORTED, ABORTED, MARKER, COMMITTED, MARKER, OPEN, COMMITTED):
        cluster.log().append(what)
    async with opened(kind, cluster, {"t": [0]}, **FIXED) as follower:
        assert follower.bounds[T0] == (0, 7)
        assert await offsets_to_end(follower) == {T0: [0, 5]}
        assert follower.positions[T0] == 7
    async with opened(kind, cluster, {"t": [0]}, read_committed=False, **FIXED) as follower:
        assert await offsets_to_end(follower) == {T0: [0, 2, 3, 5, 7, 8]}


async def test_the_end_is_detected_by_position_not_by_record(kind):
    cluster = Cluster(t=1)
    cluster.fill(4)
    for what in (ABORTED, MARKER, MARKER):
        cluster.log().append(what)
    cluster.log().compact(1)
    cluster.log().compact(3)
    async with opened(kind, cluster, {"t": [0]}, **FIXED) as follower:
        assert (follower.behind, follower.is_caught_up) == (7, False)
        assert await offsets_to_end(follower) == {T0: [0, 2]}
        assert (follower.behind, follower.is_caught_up) == (0, True)


async def test_empty_partitions_are_not_waited_for(kind):
    cluster = Cluster(t=3)
    cluster.log(partition=1).begin = cluster.log(partition=1).next = 40
    async with opened(kind, cluster, {"t": [0, 1, 2]}, **FIXED) as follower:
        assert await offsets_to_end(follower) == {}
    assert cluster.polls == 0


async def test_records_after_the_target_end_are_not_returned(kind):
    cluster = Cluster(t=2)
    cluster.fill(5)
    cluster.fetch_offsets = 100
    cluster.before_poll = lambda _: cluster.fill(2) and cluster.fill(1, partition=1)
    async with opened(kind, cluster, {"t": [0, 1]}, **FIXED) as follower:
        assert await offsets_to_end(follower) == {T0: [0, 1, 2, 3, 4]}


async def test_explicit_starts_and_ends(kind):
    cluster = Cluster(t=2)
    cluster.fill(9)
    cluster.fill(9, partition=1)
    async with opened(kind, cluster, {"t": [0, 1]}, start={T0: 4}, **FIXED) as follower:
        follower.set_targets({T0: 7, T1: 2})
        assert await offsets_to_end(follower) == {T0: [4, 5, 6], T1: [0, 1]}


async def test_a_start_before_the_first_offset_moves_to_it_with_a_warning(kind, caplog):
    cluster = Cluster(t=1)
    cluster.fill(9)
    cluster.log().begin = 6
    async with opened(kind, cluster, {"t": [0]}, start={T0: 2}, **FIXED) as follower:
        assert await offsets_to_end(follower) == {T0: [6, 7, 8]}
    deleted = "t/0: records were deleted before they were read: position 2, offsets 6 to 9"
    assert caplog.messages == [deleted]


async def test_a_start_past_the_end_means_a_recreated_topic_and_reads_everything(kind, caplog):
    cluster = Cluster(t=1)
    cluster.fill(3)
    async with opened(kind, cluster, {"t": [0]}, start={T0: 50}, **FIXED) as follower:
        assert await offsets_to_end(follower) == {T0: [0, 1, 2]}
    assert caplog.messages[0].startswith("t/0: topic recreated or truncated")


async def test_records_deleted_during_the_read_are_skipped(kind, caplog):
    cluster = Cluster(t=1)
    cluster.fill(12)

    def retention(poll):
        if poll == 2:
            cluster.log().begin = 8

    cluster.before_poll = retention
    async with opened(kind, cluster, {"t": [0]}, **FIXED) as follower:
        assert await offsets_to_end(follower) == {T0: [0, 1, 2, 8, 9, 10, 11]}
    assert caplog.messages == ["t/0: records were deleted before they were read: position 3, offsets 8 to 12"]


async def test_all_records_may_be_deleted_before_they_are_read(kind):
    cluster = Cluster(t=1)
    cluster.fill(5)

    def empty(_):
        cluster.topics["t"][0] = Log(begin=5, next=5)

    cluster.before_poll = empty
    async with opened(kind, cluster, {"t": [0]}, **FIXED) as follower:
        assert await offsets_to_end(follower) == {}


def recreate(cluster, count, at_poll):
    def change(poll):
        if poll == at_poll:
            cluster.topics["t"][0] = Log()
            cluster.fill(count)

    cluster.before_poll = change


async def test_a_topic_recreated_during_a_read_is_an_error(kind):
    cluster = Cluster(t=1)
    cluster.fill(12)
    recreate(cluster, 2, at_poll=3)
    async with opened(kind, cluster, {"t": [0]}, **FIXED) as follower:
        with pytest.raises(TopicError, match=r"t/0: expected offsets up to 6, got an end of 2: .* recreated or trunc"):
            await offsets_to_end(follower)


async def test_a_topic_recreated_with_fewer_records_is_detected_before_the_deadline(kind):
    cluster = Cluster(t=1)
    cluster.fill(12)
    recreate(cluster, 8, at_poll=3)
    async with opened(kind, cluster, {"t": [0]}, **FIXED) as follower:
        with pytest.raises(TopicError, match="expected offsets up to 12, got an end of 8"):
            await offsets_to_end(follower)
    assert CHECK_ENDS_S <= cluster.seconds.now_s < NO_PROGRESS_S


async def test_a_restarting_reader_accepts_the_smaller_end(kind):
    cluster = Cluster(t=1)
    cluster.fill(12)
    recreate(cluster, 8, at_poll=3)
    async with opened(kind, cluster, {"t": [0]}, restarts=True) as follower:
        assert (await offsets_to_end(follower))[T0][-1] == 7


async def test_no_progress_is_an_error_that_names_the_partition(kind):
    cluster = Cluster(t=2)
    cluster.fill(9)
    cluster.fill(3, partition=1)

    def silent(poll):
        cluster.is_silent = poll > 2

    cluster.before_poll = silent
    async with opened(kind, cluster, {"t": [0, 1]}, no_progress_s=30, **FIXED) as follower:
        with pytest.raises(
            BrokerError, match=r"t/0: expected to reach offset 9, got no further than 6 for 3\d s; check"
        ):
            await offsets_to_end(follower)
    assert 30 <= cluster.seconds.now_s < 40


async def test_a_broker_that_comes_back_in_time_is_not_an_error(kind):
    cluster = Cluster(t=1)
    cluster.fill(9)

    def away(poll):
        cluster.is_silent = poll >= 2 and cluster.seconds.now_s < NO_PROGRESS_S / 2

    cluster.before_poll = away
    async with opened(kind, cluster, {"t": [0]}, **FIXED) as follower:
        assert await offsets_to_end(follower) == {T0: list(range(9))}


async def test_time_spent_by_the_caller_does_not_count_as_waiting(kind):
    cluster = Cluster(t=1)
    cluster.fill(30)
    async with opened(kind, cluster, {"t": [0]}, no_progress_s=30, **FIXED) as follower:
        async for _ in batches_of(follower):
            cluster.seconds.now_s += 100
    assert follower.is_caught_up


async def test_no_record_is_lost_when_a_fetch_fails(kind):
    """Client libraries may have skipped records when they raise."""
    cluster = Cluster(t=1)
    cluster.fill(9)
    async with opened(kind, cluster, {"t": [0]}, **FIXED) as follower:
        cluster.failures = [cluster.consumers[-1].errors.UnsupportedCodecError("zstd")]
        with pytest.raises(BrokerError, match=r"memory:0: t/0 at offset 0 cannot be read: .*zstd"):
            await offsets_to_end(follower)
        assert await offsets_to_end(follower) == {T0: list(range(9))}


@given(data=st.data())
def test_every_committed_record_before_the_end_is_returned_once_and_the_read_ends(kind, data):
    """The end rule, on logs with gaps, markers, aborted and open transactions, and any fetch size."""
    count = data.draw(st.integers(1, 3))
    cluster = Cluster(t=count)
    kinds = st.lists(st.sampled_from([COMMITTED, COMMITTED, ABORTED, MARKER, OPEN]), max_size=20)
    for log in cluster.topics["t"]:
        log.begin = log.next = data.draw(st.integers(0, 5))
        for what in data.draw(kinds):
            log.append(what)
        for offset in data.draw(st.sets(st.sampled_from(sorted(log.kinds) or [-1]))):
            if offset not in (-1, log.next - 1):
                log.compact(offset)
    cluster.fetch_offsets = data.draw(st.integers(1, 30))
    is_committed = data.draw(st.booleans())
    expected = {
        Place("t", number): offsets
        for number, log in enumerate(cluster.topics["t"])
        if (offsets := log.visible(is_committed))
    }
    late = data.draw(st.integers(1, 20))
    cluster.before_poll = lambda poll: poll == late and cluster.fill(2)

    async def read():
        options = {"read_committed": is_committed, **FIXED}
        async with opened(kind, cluster, {"t": range(count)}, **options) as follower:
            ends = {place: end for place, (_, end) in follower.bounds.items()}
            found = await offsets_to_end(follower)
            assert all(follower.positions[place] >= end for place, end in ends.items())
            return found

    assert asyncio.run(read()) == expected
    assert all(consumer.is_closed for consumer in cluster.consumers)
