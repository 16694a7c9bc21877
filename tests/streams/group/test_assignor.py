"""The group's assignment over Faust's protocol: what is said, what is carried, and what other versions make of it."""

from types import SimpleNamespace

import pytest
from faust.assignor.partition_assignor import PartitionAssignor
from yarl import URL

from sidestream.streams.group.assignor import LaneAssignor
from sidestream.streams.runtime.lane_protocol import HeldTables
from sidestream.streams.worker.watch.membership import GroupMembership

PARTITIONS = {"listens": 6, "starts": 6, "items": 4}
CLUSTER = SimpleNamespace(partitions_for_topic=lambda topic: set(range(PARTITIONS[topic])))


class Member:
    """A worker that owns what it was assigned last, with tables that are current where a test says so."""

    def __init__(self, name, kind=LaneAssignor):
        self.held = HeldTables(frozenset(), frozenset())
        transport = SimpleNamespace(held_tables=lambda: {"listens": self.held} if self.held is not None else {})
        conf = SimpleNamespace(canonical_url=URL(f"http://{name}"))
        tables = SimpleNamespace(changelog_topics=set(), data={})
        app = SimpleNamespace(transport=transport, conf=conf, tables=tables, tracer=None, sensors=Sensors())
        self.name, self.assignor = name, kind(app, replicas=1)

    def owned(self, topic="listens"):
        return set(self.assignor._assignment.actives.get(topic, ()))

    def standbys(self, topic="listens"):
        return {tp.partition for tp in self.assignor.assigned_standbys() if tp.topic == topic}

    def serve(self, *, standbys=True):
        """Let all tables become current, or only those of owned partitions."""
        known = self.owned() | (self.standbys() if standbys else set())
        self.held = HeldTables(frozenset(known), frozenset(known | self.held.on_disk))


class Sensors:
    def on_assignment_start(self, assignor):
        return None

    def on_assignment_completed(self, assignor, state):
        pass

    def on_assignment_error(self, assignor, state, exc):
        pass


def rebalance(*members):
    """Let the first member lead a rebalance of all."""
    said = {member.name: member.assignor.metadata(set(PARTITIONS)) for member in members}
    for name, assignment in members[0].assignor.assign(CLUSTER, said).items():
        next(member for member in members if member.name == name).assignor.on_assignment(assignment)


def check(*members):
    for topic, count in PARTITIONS.items():
        assert sorted(p for member in members for p in member.owned(topic)) == list(range(count))
    for member in members:
        assert member.owned("starts") == member.owned("listens")


def test_a_worker_that_joins_takes_over_once_its_tables_are_current():
    first, second = Member("a"), Member("b")
    rebalance(first)
    first.serve()
    rebalance(first, second)
    check(first, second)
    assert (first.owned(), second.owned()) == (set(range(6)), set())
    assert len(second.owned("items")) == 2, "what keeps no tables moves at once"
    coming = second.assignor.coming["listens"]
    assert len(coming) == 3
    assert second.standbys() == set(range(6))
    assert not second.assignor.has_arrived(all_of_them=False)
    second.held = HeldTables(frozenset(sorted(coming)[:1]), frozenset())
    assert second.assignor.has_arrived(all_of_them=False)
    assert not second.assignor.has_arrived(all_of_them=True)
    second.serve()
    assert second.assignor.has_arrived(all_of_them=True)
    first.serve()
    rebalance(second, first)
    check(first, second)
    assert second.owned() == coming
    assert (first.assignor.coming, second.assignor.coming) == ({}, {})
    assert not second.assignor.has_arrived(all_of_them=True)


def test_the_dead_workers_partitions_go_to_their_standbys():
    members = [Member(name) for name in "abc"]
    rebalance(*members)
    for member in members:
        member.serve()
    rebalance(*members)
    victim, *left = members
    before = {member.name: set(member.held.current) for member in left}
    rebalance(*left)
    check(*left)
    for member in left:
        assert member.owned() <= before[member.name]
    assert victim.owned()


@pytest.mark.parametrize("leads", ["old", "new"])
def test_workers_of_the_release_before_share_a_group(leads):
    old, new = Member("a", PartitionAssignor), Member("b")
    members = [old, new] if leads == "old" else [new, old]
    rebalance(*members)
    check(*members)
    for member in members:
        member.serve()
    rebalance(*members)
    check(*members)
    assert [len(member.owned()) for member in members] == [3, 3]
    assert new.assignor.coming == {}
    third = Member("c")
    rebalance(*members, third)
    check(*members, third)
    rebalance(third, *members)
    check(*members, third)


def test_without_standbys_faust_distributes():
    first, second = Member("a"), Member("b")
    for member in (first, second):
        member.held = None
    rebalance(first)
    rebalance(first, second)
    check(first, second)
    assert [len(member.owned()) for member in (first, second)] == [3, 3]


def test_a_worker_whose_partitions_are_coming_is_not_ready():
    first, second = Member("a"), Member("b")
    rebalance(first)
    first.serve()
    rebalance(first, second)
    signal = SimpleNamespace(connect=lambda handler: None)
    app = SimpleNamespace(
        assignor=second.assignor, on_partitions_assigned=signal, on_partitions_revoked=signal, _consumer=None
    )
    membership = GroupMembership(app)
    assert membership.not_ready() == ["kafka: not joined"]
    membership._state = "joined"
    assert membership.not_ready() == ["listens: 3 partitions come once their states are here"]
