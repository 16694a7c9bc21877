"""What an assignment is refused for before any table is opened."""

import asyncio

import pytest

from sidestream.streams.contracts.topics import TopicState
from sidestream.streams.errors import LaneError
from sidestream.streams.listens.restore import source_check as admission
from sidestream.streams.listens.table.meta import TableIdentity

IDENTITY = TableIdentity("listens", "changelog", 8)


def look(monkeypatch, **partitions):
    found = {name: TopicState(count, "compact") for name, count in partitions.items()}
    monkeypatch.setattr(admission, "look_up", lambda clients, *names: found)
    asyncio.run(admission.Admission(IDENTITY, clients=None, beside=["counts"]).look())


def test_topics_of_one_size_are_taken(monkeypatch):
    look(monkeypatch, listens=8, changelog=8, counts=8)


@pytest.mark.parametrize(
    ("partitions", "name", "then"),
    [
        ({"listens": 4, "changelog": 8, "counts": 8}, "listens", "state rebase"),
        ({"listens": 8, "changelog": 4, "counts": 8}, "changelog", "state rebase"),
        ({"listens": 8, "counts": 8}, "changelog", "state rebase"),
        ({"listens": 8, "changelog": 8, "counts": 4}, "counts", "state rebase"),
        ({"listens": 8, "changelog": 8}, "counts", "topics create"),
    ],
)
def test_a_topic_of_another_size_is_named_with_what_to_do(monkeypatch, partitions, name, then):
    got = partitions.get(name, "no such topic")
    with pytest.raises(LaneError, match=rf"{name}: expected 8 partitions .*, got {got}; .*sidestream {then}"):
        look(monkeypatch, **partitions)
