"""Topic checks of an assignment before any table is opened."""

import asyncio

import pytest

from sidestream.streams.contracts.topics import TopicState
from sidestream.streams.errors import LaneError
from sidestream.streams.listens.restore import source_check
from sidestream.streams.listens.table.meta import TableIdentity

IDENTITY = TableIdentity("listens", "changelog", 8)


def check_topics(monkeypatch, changes=4, **partitions):
    partitions = {**partitions, **({} if changes is None else {"changes": changes})}
    found = {name: TopicState(count, "compact") for name, count in partitions.items()}
    monkeypatch.setattr(source_check, "describe_topics", lambda clients, *names: found)
    asyncio.run(source_check.SourceCheck(IDENTITY, clients=None, side_topics={"counts": 8, "changes": 4}).read_topics())


def test_topics_with_equal_partition_counts_are_accepted(monkeypatch):
    check_topics(monkeypatch, listens=8, changelog=8, counts=8)


@pytest.mark.parametrize(
    ("partitions", "name", "then"),
    [
        ({"listens": 4, "changelog": 8, "counts": 8}, "listens", "state rebase"),
        ({"listens": 8, "changelog": 4, "counts": 8}, "changelog", "state rebase"),
        ({"listens": 8, "counts": 8}, "changelog", "state rebase"),
        ({"listens": 8, "changelog": 8, "counts": 4}, "counts", "state rebase"),
        ({"listens": 8, "changelog": 8}, "counts", "topics create"),
        ({"listens": 8, "changelog": 8, "counts": 8, "changes": None}, "changes", "topics create"),
        ({"listens": 8, "changelog": 8, "counts": 8, "changes": 8}, "changes", "topics create"),
    ],
)
def test_a_wrong_or_missing_topic_is_reported_with_a_remedy(monkeypatch, partitions, name, then):
    got, count = partitions.get(name) or "no such topic", 4 if name == "changes" else 8
    with pytest.raises(LaneError, match=rf"{name}: expected {count} partitions.*, got {got}; .*sidestream {then}"):
        check_topics(monkeypatch, **partitions)
