"""A changed `topics.partitioner` stops the worker before it folds; origin records of earlier releases are completed."""

import json

import pytest

from sidestream.streams.contracts.partitioner import PARTITIONERS, partition_of
from sidestream.streams.errors import LaneError
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin
from sidestream.streams.listens.restore.source_check import SourceCheck
from sidestream.streams.listens.table.meta import Positions, TableIdentity

USERS = [b"user-%d" % number for number in range(400)]
# As the first release wrote it.
OLD = b'{"format": 1, "source_topic": "listens", "source_id": null, "num_partitions": 8, "carried": true}'


class FakeTable:
    positions = Positions(5, 5)

    def __init__(self, record, users):
        self.record, self.users = record, users

    def get(self, key):
        assert key == ORIGIN_KEY
        return self.record

    def items(self):
        return ((user, b"state") for user in self.users)


def checked(record, users, configured="murmur2"):
    identity = TableIdentity("listens", "changelog", 8, configured)
    return SourceCheck(identity, clients=None).after_restore(3, FakeTable(record, users), 5)


def users_of(partition, *names):
    return [user for user in USERS if partition in {partition_of(user, 8, name) for name in names}]


def test_an_origin_survives_its_bytes_and_older_ones_have_no_partitioner():
    for origin in (Origin("l", "id", 4, True, "crc32"), Origin("l", None, 4)):
        assert Origin.from_bytes(origin.to_bytes()) == origin
    assert Origin.from_bytes(OLD) == Origin("listens", None, 8, carried=True)
    assert Origin("listens", None, 8, carried=True).to_bytes() == OLD


def test_an_origin_of_a_later_partitioner_is_not_taken():
    later = json.dumps({**json.loads(OLD), "partitioner": "xxhash"}).encode()
    with pytest.raises(LaneError, match="run the release that wrote it"):
        Origin.from_bytes(later)


@pytest.mark.parametrize("configured", PARTITIONERS)
def test_a_changed_setting_is_refused(configured):
    for stored in PARTITIONERS:
        record = Origin("listens", None, 8, partitioner=stored).to_bytes()
        if stored == configured:
            assert checked(record, users_of(3, stored), configured) is None
            continue
        with pytest.raises(LaneError, match=rf"partitioner changed: expected {stored}, .*, got {configured}; .*rebase"):
            checked(record, users_of(3, stored), configured)


@pytest.mark.parametrize("record", [OLD, None], ids=["old record", "no record"])
@pytest.mark.parametrize("used", ["crc32", "fnv1a"])
def test_states_of_another_hash_under_an_older_record_say_which_setting_fits(record, used):
    with pytest.raises(
        LaneError, match=rf"topics.partitioner = murmur2, got those by {used}, .*if the producers use it; "
    ):
        checked(record, users_of(3, used))


@pytest.mark.parametrize("used", PARTITIONERS)
def test_an_older_record_is_completed_where_the_states_fit(used):
    completed = Origin("listens", None, 8, carried=True, partitioner=used)
    assert checked(OLD, users_of(3, used), used) == completed
    assert checked(OLD, [], used) == completed


def test_single_states_in_a_wrong_partition_are_no_reason_to_stop():
    """Some producer of an earlier release had another hash: its records are dead letters from now on."""
    strays = users_of(3, "crc32")[:5]
    assert checked(OLD, users_of(3, "murmur2") + strays) is not None
