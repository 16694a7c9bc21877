"""A log folder is published: every row once, under its key, in order per user."""

from pathlib import Path

import pytest

from sidestream.models.data import LogFolder
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.broker import RunningBroker
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import Topics, build_topics
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.replay import Player, ReplaySettings
from sidestream.streams.replay.position import PositionFile
from sidestream.streams.replay.publisher import TopicPublisher
from tests.streams.topic_reading import read

DEADLINE_S = 30.0


@pytest.mark.parametrize("stamp", ["now", "log"])
async def test_a_folder_reaches_the_topics(broker: RunningBroker, topics: Topics, tmp_path: Path, stamp: str) -> None:
    generate_world(tmp_path / "log", WorldSettings(seed=2, listeners=20, days=4))
    folder = LogFolder(tmp_path / "log")
    settings = ReplaySettings(stamp=stamp)
    position = PositionFile(tmp_path / "position.json", folder)
    async with TopicPublisher(Clients(broker.kafka), topics, settings.stamp) as publisher:
        last = await Player(folder, publisher, settings, position=position).play()
    assert last.done
    for name, topic in (("listens", topics.listens), ("sessions", topics.session_starts)):
        rows = [row for row in folder.merged() if row.topic == name]
        records = read(broker, topic, len(rows))
        for key in {row.key for row in rows}:
            sent = [row.value for row in rows if row.key == key]
            mine = [record for record in records if record.key == key.encode()]
            assert [record.value for record in mine] == sent
            assert len({record.partition for record in mine}) == 1
            if stamp == "log":
                assert [record.timestamp for record in mine] == [row.at for row in rows if row.key == key]
    rows = [row for row in folder.merged() if row.topic == "catalog"]
    records = read(broker, topics.catalog_items, len(rows))
    assert {(r.key, r.value) for r in records} == {(row.key.encode(), row.value) for row in rows}


async def test_a_closed_publisher_raises(embedded: RunningBroker) -> None:
    publisher = TopicPublisher(Clients(embedded.kafka), build_topics(TopicSettings()))
    with pytest.raises(BrokerError, match="not open"):
        await publisher.publish([])
