"""Which worker owns what: nothing moves before its table is current, and a dead worker's partitions find theirs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.group.distribution import Report, Share, distribute

NOTHING = Report(frozenset(), frozenset(), frozenset())


def report(share: Share, *, current: bool = True, tells: bool = True) -> Report:
    """What a worker says whose tables are all current, or only those that it owns."""
    known = share.owned | share.standbys if current else share.owned
    return Report(frozenset(share.owned), frozenset(share.standbys), frozenset(known) if tells else None)


def owned(shares: dict[str, Share]) -> dict[str, set[int]]:
    return {name: share.owned for name, share in shares.items()}


def check(shares: dict[str, Share], num_partitions: int) -> None:
    everything = list(range(num_partitions))
    assert sorted(p for share in shares.values() for p in share.owned) == everything
    regular = [p for share in shares.values() for p in share.standbys - share.coming]
    assert set(regular) | {p for share in shares.values() for p in share.coming} >= (
        set(everything) if len(shares) > 1 else set()
    )
    for share in shares.values():
        assert not share.owned & share.standbys
        assert share.coming <= share.standbys
    planned = [len(share.owned) + len(share.coming) for share in shares.values()]
    coming = sum(len(share.coming) for share in shares.values())
    assert sum(planned) == num_partitions + coming


def is_settled(shares: dict[str, Share]) -> bool:
    counts = [len(share.owned) for share in shares.values()]
    return max(counts) - min(counts) < 2 and not any(share.coming for share in shares.values())


def settle(reports: dict[str, Report], num_partitions: int) -> dict[str, Share]:
    """Rebalance until nothing is coming, with tables that become current between two rebalances."""
    shares = distribute(reports, num_partitions)
    for _ in range(3):
        check(shares, num_partitions)
        if is_settled(shares):
            break
        shares = distribute({name: report(share) for name, share in shares.items()}, num_partitions)
    assert is_settled(shares)
    return shares


def test_workers_that_start_together_share_at_once():
    shares = distribute(dict.fromkeys("abc", NOTHING), 16)
    assert sorted(len(share.owned) for share in shares.values()) == [5, 5, 6]
    assert not any(share.coming for share in shares.values())
    assert sum(len(share.standbys) for share in shares.values()) == 16


def test_what_nobody_serves_yet_moves_at_once():
    restoring = Report(frozenset(range(16)), frozenset(), frozenset())
    shares = distribute({"a": restoring, "b": NOTHING}, 16)
    assert [len(shares[name].owned) for name in "ab"] == [8, 8]


def test_what_is_served_moves_once_its_table_is_current():
    alone = settle({"a": NOTHING}, 16)
    shares = distribute({"a": report(alone["a"]), "b": NOTHING}, 16)
    assert (len(shares["a"].owned), len(shares["b"].owned), len(shares["b"].coming)) == (16, 0, 8)
    assert shares["b"].standbys == set(range(16))
    behind = distribute({"a": report(shares["a"]), "b": report(shares["b"], current=False)}, 16)
    assert behind == shares
    moved = distribute({name: report(share) for name, share in shares.items()}, 16)
    assert owned(moved) == {"a": set(range(16)) - shares["b"].coming, "b": shares["b"].coming}


@pytest.mark.parametrize("silent", ["a", "b"])
def test_nothing_waits_for_a_worker_that_does_not_say_what_is_current(silent):
    reports = {"a": Report(frozenset(range(4)), frozenset(), frozenset(range(4))), "b": NOTHING}
    reports[silent] = Report(reports[silent].owned, frozenset(), None)
    shares = distribute(reports, 4)
    assert [len(shares[name].owned) for name in "ab"] == [2, 2]


def test_of_two_owners_the_one_that_serves_keeps_the_partition():
    gone = Report(frozenset({0, 1}), frozenset(), frozenset())
    serving = Report(frozenset({1}), frozenset(), frozenset({1}))
    assert distribute({"a": gone, "b": serving}, 2)["b"].owned == {1}


def test_a_table_on_disk_is_nearer_than_none():
    served = Report(frozenset({0, 1, 2, 3}), frozenset(), frozenset({0, 1, 2, 3}))
    back = Report(frozenset(), frozenset({2, 3}), frozenset())
    assert distribute({"a": served, "b": back}, 4)["b"].coming == {2, 3}


def test_what_nobody_serves_moves_to_where_its_table_is():
    """All workers were stopped; one is back first, and owns everything by the time that the others come."""
    first = Report(frozenset(range(12)), frozenset(range(12)), frozenset())
    second = Report(frozenset(), frozenset(range(6, 12)), frozenset())
    assert owned(distribute({"a": first, "b": second}, 12)) == {"a": set(range(6)), "b": set(range(6, 12))}


def test_a_partition_whose_owner_restores_it_goes_to_a_current_table():
    """A damaged table is rebuilt, or a static member is back on an empty disk; then somebody rebalances."""
    restoring = Report(frozenset({0, 1}), frozenset({0, 1}), frozenset({1}))
    serving = Report(frozenset({2, 3}), frozenset({0, 1, 2, 3}), frozenset({0, 1, 2, 3}))
    shares = distribute({"a": restoring, "b": serving}, 4)
    assert shares["b"].owned >= {0, 2, 3}
    assert shares["a"].owned == {1}
    assert len(shares["a"].coming) == 1
    silent = Report(restoring.owned, restoring.standbys, None)
    assert distribute({"a": silent, "b": serving}, 4)["a"].owned == {0, 1}, "it may serve them"


@given(st.integers(1, 6), st.integers(1, 40), st.data())
def test_whoever_dies_is_replaced_by_current_tables_and_returns_without_a_gap(workers, partitions, data):
    names = [f"w{number}" for number in range(workers)]
    shares = settle(dict.fromkeys(names, NOTHING), partitions)
    for _ in range(3):
        victim = data.draw(st.sampled_from(names))
        before = {name: report(share) for name, share in shares.items()}
        assert distribute(before, partitions) == shares, "a settled group stays as it is"
        if workers > 1:
            left = {name: said for name, said in before.items() if name != victim}
            taken = distribute(left, partitions)
            check(taken, partitions)
            for name, share in taken.items():
                assert share.owned <= before[name].current, "taken over with a current table"
            assert max(len(share.owned) for share in taken.values()) <= -(-partitions // (workers - 1))
            shares = settle({name: report(share) for name, share in taken.items()}, partitions)
        served = {name: share.owned for name, share in shares.items() if name != victim}
        reports = {name: report(share) for name, share in shares.items() if name != victim} | {victim: NOTHING}
        shares = distribute(reports, partitions)
        check(shares, partitions)
        if workers > 1:
            assert owned(shares) == {**served, victim: set()}, "nobody loses what is served"
        shares = settle({name: report(share) for name, share in shares.items()}, partitions)


@given(st.integers(1, 12), st.data())
def test_any_reports_are_distributed(partitions, data):
    some = st.frozensets(st.integers(0, partitions - 1))
    reports = data.draw(
        st.dictionaries(st.sampled_from("abcd"), st.builds(Report, some, some, st.none() | some), min_size=1)
    )
    check(distribute(reports, partitions), partitions)
