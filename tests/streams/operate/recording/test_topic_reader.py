"""What a recording reads of one topic: positions, times, what is lost, and another topic under the same name."""

import pytest
from structlog.testing import capture_logs

from sidestream.streams.errors import DataError, TopicError
from sidestream.streams.operate.recording.reading import TopicReader
from tests.streams.kafka.model_log import COMMITTED, MARKER, Cluster


def cluster_of(*counts):
    cluster = Cluster(t=len(counts))
    for number, count in enumerate(counts):
        for offset in range(count):
            cluster.log(partition=number).append(COMMITTED, at=10 * offset)
    return cluster


def read(cluster, positions=None, since_ms=None):
    with TopicReader(cluster, "t", positions or {}, since_ms) as reader:
        found = {}
        for records in reader.read():
            found.setdefault(records[0].partition, []).extend(record.offset for record in records)
        assert (reader.done, reader.positions) == (reader.total, reader.ends)
    assert cluster.consumers[-1].is_closed
    return found


def test_all_is_read_and_then_what_is_new():
    cluster = cluster_of(5, 0, 2)
    assert read(cluster) == {0: [0, 1, 2, 3, 4], 2: [0, 1]}
    cluster.fill(2, partition=1)
    assert read(cluster, {0: 5, 1: 0, 2: 1}) == {1: [0, 1], 2: [1]}


def test_a_time_binds_only_partitions_without_a_position():
    assert read(cluster_of(5, 5, 1), {1: 1}, since_ms=30) == {0: [3, 4], 1: [1, 2, 3, 4]}


def test_the_end_may_be_a_marker_and_what_comes_later_is_left_for_the_next_run():
    cluster = cluster_of(3)
    cluster.log().append(MARKER)
    cluster.before_poll = lambda poll: poll == 1 and cluster.fill(4)
    cluster.fetch_offsets = 100
    with TopicReader(cluster, "t", {}) as reader:
        assert (reader.begins, reader.ends, reader.total) == ({0: 0}, {0: 4}, 4)
        assert [record.offset for records in reader.read() for record in records] == [0, 1, 2]
        assert reader.done == 4


def test_what_retention_took_is_counted():
    cluster = cluster_of(9)
    cluster.log().begin = 6
    with capture_logs(), TopicReader(cluster, "t", {0: 4}) as reader:
        assert (reader.num_lost, reader.positions, reader.total) == (2, {0: 6}, 3)


def test_another_topic_of_the_name_is_refused_and_the_connection_closed():
    cluster = cluster_of(3)
    with pytest.raises(DataError, match=r"t/0: expected offset 7, .* that ends at 3: the topic was made again"):
        TopicReader(cluster, "t", {0: 7})
    with pytest.raises(DataError, match="t/4: expected offset 2"):
        TopicReader(cluster, "t", {4: 2})
    with pytest.raises(TopicError, match="expected topic absent"):
        TopicReader(cluster, "absent", {})
    assert len(cluster.consumers) == 3
    assert all(consumer.is_closed for consumer in cluster.consumers)
