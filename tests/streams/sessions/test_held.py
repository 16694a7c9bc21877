"""What is kept of session-starts that cannot be answered yet."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.sessions.held import Held
from tests.streams.sessions.session_fakes import record, until

FETCHES = st.lists(st.integers(0, 5), max_size=20)


@given(FETCHES, st.integers(1, 6), st.integers(0, 100))
def test_the_newest_are_kept_and_the_others_named(sizes, most, first):
    held, offset = Held(most), first
    for size in sizes:
        held.add(3, [SimpleNamespace(offset=offset + number) for number in range(size)])
        offset += size
    if offset == first:
        assert (list(held), held.first(3), len(held)) == ([], None, 0)
        return
    assert (list(held), held.first(3), len(held)) == ([3], first, 1)
    not_kept, kept = held.take(3)
    assert [*not_kept, *(one.offset for one in kept)] == list(range(first, offset))
    assert len(kept) == min(most, offset - first)
    assert (list(held), held.first(3)) == ([], None)


def test_only_those_of_open_partitions_are_taken():
    held = Held(2)
    for partition in (0, 1, 2):
        held.add(partition, [record(5, partition)])
    held.drop(2)
    assert held.take_open({0}.__contains__) == {1: (range(5, 5), [record(5, 1)])}
    assert list(held) == [0]
    held.clear()
    assert not held


async def test_the_newest_that_came_during_a_restore_are_answered_first(bench):
    one = await bench(log={0: [], 1: [record(0, 1)]}, max_in_flight=2)
    one.ready = {1}
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.lane.committable() == {1: 1})
    one.log.records[0] += [record(number) for number in range(100)]
    await until(lambda: one.log.num_taken == 101)
    assert one.lane.unread({0: 100, 1: 1}) == {0: 100, 1: 0}
    assert one.lane.work({0: 100, 1: 1}).waiting == 0
    one.ready = {0, 1}
    await until(lambda: one.lane.committable() == {0: 100, 1: 1})
    assert one.answered[0] == "s0"  # of the other partition
    assert set(one.answered[1:17]) == {f"s{number}" for number in range(84, 100)}
    assert sorted(one.answered[1:]) == sorted(f"s{number}" for number in range(100))
    assert one.lane.unread({0: 100, 1: 1}) == {0: 0, 1: 0}


async def test_a_restored_partition_is_answered_without_another_request(bench):
    one = await bench(log={0: [record(0)], 1: []})
    one.ready = {1}
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.log.num_taken == 1 and not one.lane.not_ready())
    one.log.leaderless = {0}  # Kafka says no more
    one.ready = {0, 1}
    await until(lambda: one.lane.committable() == {0: 1})


async def test_held_ones_of_a_partition_that_goes_are_left_to_its_heir(bench):
    one = await bench(log={0: [record(0)], 1: []})
    one.ready = {1}
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.log.num_taken == 1)
    await one.lane.on_assigned({1})
    one.ready = {0, 1}
    await until(lambda: not one.lane._source._held)
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.answered == ["s0"])
    assert one.log.num_taken == 2


async def test_held_ones_are_read_again_where_the_position_is_lost(bench):
    one = await bench(log={0: [record(number) for number in range(10)], 1: []})
    one.ready = {1}
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.log.num_taken == 10)
    # The reader's position is lost: it goes back to what the log still has of those that were held.
    one.log.begins[0], one.log.records[0] = 20, [record(number) for number in range(20, 23)]
    await until(lambda: one.lane._source.positions.get(0) == 20)
    one.ready = {0, 1}
    await until(lambda: one.lane.committable() == {0: 23})
    assert one.answered == ["s20", "s21", "s22"]
    assert one.skipped("deleted") == 20
