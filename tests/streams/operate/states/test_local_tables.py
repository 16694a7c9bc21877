"""Workers that share a data folder have separate tables; offline commands find all of them."""

from pathlib import Path

import pytest

from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import Positions, TableTopics
from sidestream.streams.operate.states import OfflineStates


@pytest.fixture
def offline(tmp_path: Path) -> OfflineStates:
    folders = [tmp_path / name for name in ("first", "second", "third")]
    clients, topics = Clients(KafkaSettings(bootstrap="h:1")), build_topics(TopicSettings())
    return OfflineStates(clients, topics, LaneSettings(), "group", folders[0], tuple(folders[1:]))


def made(offline: OfflineStates, folder: Path, partition: int) -> Path:
    path = folder / offline.identity.source_topic / f"{partition}.db"
    path.mkdir(parents=True)
    return path


def test_all_tables_of_a_partition_are_found(offline: OfflineStates) -> None:
    assert offline.local_paths(3) == []
    assert offline.local_path(3).is_relative_to(offline.folder)
    later, second = (made(offline, folder, 3) for folder in reversed(offline.more_folders))
    assert offline.local_paths(3) == [second, later]
    assert offline.local_path(3) == second
    assert offline.local_paths(2) == []


def test_of_several_tables_the_most_recent_is_read(offline: OfflineStates, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = dict(zip((offline.folder, *offline.more_folders), (5, 9, 7), strict=True))

    def read(self: OfflineStates, folder: Path, partition: int):
        return {b"u": folder.name.encode()}, Positions(reached[folder], 1), TableTopics()

    monkeypatch.setattr(OfflineStates, "_read_table", read)
    assert offline.read_table(0) == ({}, Positions(), TableTopics())
    for folder in reached:
        made(offline, folder, 0)
    assert offline.read_table(0)[0] == {b"u": b"second"}
