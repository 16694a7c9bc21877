"""Where records of a time begin: the lookup by Kafka timestamp, and what is counted as lost."""

import pytest

from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.blocking import BlockingFollower
from tests.streams.kafka.model_log import COMMITTED, OPEN, Cluster
from tests.streams.kafka.readers import T0, T1


def opened(cluster, **options):
    return BlockingFollower(cluster, {"t": None}, restarts=False, seconds=cluster.seconds, **options)


def filled(*times, kind=COMMITTED, partitions=2):
    cluster = Cluster(t=partitions)
    for at in times:
        cluster.log().append(kind, at=at)
    return cluster


@pytest.mark.parametrize(("since", "offset"), [(-5, 0), (0, 0), (11, 1), (20, 1), (21, 3), (40, 3), (41, 4)])
def test_the_first_record_of_a_time_and_the_end_where_there_is_none(since, offset):
    with opened(filled(10, 20, 15, 40)) as follower:
        assert follower.offsets_since(since) == {T0: offset, T1: 0}


def test_nothing_that_retention_took_or_that_is_not_committed_is_pointed_at():
    cluster = filled(10, 20, 30)
    cluster.log().append(OPEN, at=40)
    cluster.log().append(COMMITTED, at=50)
    cluster.log().begin = 1
    with opened(cluster) as follower:
        assert follower.bounds[T0] == (1, 3)
        assert follower.offsets_since(0)[T0] == 1
        assert follower.offsets_since(45)[T0] == 3


def test_the_embedded_broker_cannot_look_up_times_and_all_is_read():
    cluster = filled(10, 20)
    cluster.is_embedded = True
    with opened(cluster) as follower:
        assert follower.offsets_since(20) == {T0: 0, T1: 0}


def test_a_broker_that_does_not_answer_is_named():
    cluster = filled(10)
    with opened(cluster) as follower:
        cluster.is_silent = True
        with pytest.raises(BrokerError, match="memory:0: t/0 at offset 0, t/1 at offset 0 cannot be read"):
            follower.offsets_since(0)


def test_reading_from_there_on():
    with opened(filled(10, 20, 30)) as follower:
        follower.seek(follower.offsets_since(20))
        assert [record.offset for _, records in follower.to_end() for record in records] == [1, 2]


def test_offsets_deleted_before_they_are_read_are_counted():
    cluster = filled(*range(12), partitions=1)
    cluster.log().begin = 2

    def retention(poll):
        if poll == 2:
            cluster.log().begin = 9

    cluster.before_poll = retention
    with opened(cluster, start={T0: 1}) as follower:
        assert follower.num_lost == 1
        found = [record.offset for _, records in follower.to_end() for record in records]
        assert (found, follower.num_lost) == ([2, 3, 4, 9, 10, 11], 5)
