"""Records in another partition than their key's: recognised, explained and logged, by the topic's own partitioner."""

from types import SimpleNamespace

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.contracts.partitioner import PARTITIONERS, partition_of
from sidestream.streams.contracts.placement import WARN_EVERY_S, Placement, fitting, likely_partitioner
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.errors import BadRecord

KEY = b"user-2"  # of eight partitions in 0 by murmur2, 6 by crc32, 3 by fnv1a


def placement(partitioner="murmur2", seconds=lambda: 0.0):
    return Placement(build_topics(TopicSettings(partitioner=partitioner)).listens, seconds)


def record(partition, key=KEY, offset=0):
    return SimpleNamespace(topic="listens", partition=partition, offset=offset, key=key)


@pytest.mark.parametrize("configured", PARTITIONERS)
@pytest.mark.parametrize("used", PARTITIONERS)
def test_a_record_of_another_partitioner_is_refused_and_names_the_setting_that_fits(configured, used):
    home, got = partition_of(KEY, 8, configured), partition_of(KEY, 8, used)
    if used == configured:
        placement(configured).check(record(got))
        return
    with pytest.raises(BadRecord) as caught:
        placement(configured).check(record(got))
    assert caught.value.reason == "wrong_partition"
    detail = caught.value.detail
    assert f"expected partition {home} of 8, by the key's {configured}, got {got}, by its " in detail
    assert f"set the producer's partitioner to {configured}, or topics.partitioner = " in detail
    assert used in detail.split("topics.partitioner = ")[1]


def test_a_partition_that_no_hash_gives_is_said_to_be_the_producers_own_choice():
    taken = {partition_of(KEY, 8, name) for name in PARTITIONERS}
    free = next(partition for partition in range(8) if partition not in taken)
    with pytest.raises(BadRecord, match="which is none of the key's hashes"):
        placement().check(record(free))


@given(st.lists(st.binary(min_size=1, max_size=40), unique=True), st.sampled_from(PARTITIONERS), st.integers(0, 7))
def test_of_many_keys_those_of_other_partitions_are_found(keys, name, partition):
    expected = [key for key in keys if partition_of(key, 8, name) != partition]
    assert placement(name).misplaced(keys, partition) == expected


def test_a_producer_that_goes_wrong_is_logged_at_once_and_then_once_a_minute():
    now_s = 0.0
    checked = placement(seconds=lambda: now_s)
    with structlog.testing.capture_logs() as lines:
        for offset in range(5):
            checked.fault(record(6, offset=offset))
        assert [(line["log_level"], line["offset"], line["records"]) for line in lines] == [("warning", 0, 1)]
        now_s = WARN_EVERY_S
        checked.fault(record(6, offset=9))
    assert [(line["offset"], line["records"]) for line in lines[1:]] == [(9, 5)]
    assert lines[1]["detail"].startswith("expected partition 0 of 8")


@pytest.mark.parametrize("used", PARTITIONERS)
def test_the_partitioner_of_states_is_known_from_where_most_of_them_lie(used):
    users = [b"user-%d" % number for number in range(400)]
    here = [user for user in users if partition_of(user, 8, used) == 3]
    stray = [user for user in users if partition_of(user, 8, used) == 5][:5]
    assert likely_partitioner([*here, *stray], 3, 8, "murmur2") == used


@pytest.mark.parametrize("configured", PARTITIONERS)
def test_without_evidence_it_is_the_configured_one(configured):
    assert likely_partitioner([], 0, 8, configured) == configured
    assert likely_partitioner([b"anyone"], 0, 1, configured) == configured


def test_all_partitioners_that_fit_are_named():
    assert fitting(KEY, 0, 1) == list(PARTITIONERS)
