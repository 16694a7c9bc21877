"""A replay position counts where the log was played: not on another cluster, nor on topics that were created anew."""

import asyncio
import json
from pathlib import Path

import pytest

from sidestream.models.data import LogFolder
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.replay import Player
from sidestream.streams.replay.position import PositionFile
from sidestream.streams.replay.target import Target

HERE = Target(cluster="c", topics={"a": "1", "b": "2"})


class Counter:
    def __init__(self) -> None:
        self.rows = 0

    async def publish(self, rows) -> None:
        self.rows += len(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> LogFolder:
    path = tmp_path_factory.mktemp("world") / "log"
    generate_world(path, WorldSettings(listeners=10, days=2))
    return LogFolder(path)


def play(folder: LogFolder, file: Path, target: Target | None) -> int:
    counter = Counter()
    asyncio.run(Player(folder, counter, position=PositionFile(file, folder, target)).play())
    return counter.rows


@pytest.mark.parametrize(
    ("now", "starts_over"),
    [
        (HERE, False),
        (Target(cluster="c", topics={"a": "1", "b": None}), False),
        (Target(cluster="d", topics={"a": "1", "b": "2"}), True),
        (Target(cluster="c", topics={"a": "1", "b": "3"}), True),
        (Target(cluster="c", topics={"x-a": "1", "x-b": "2"}), True),
    ],
)
def test_a_log_is_played_again_where_it_was_not_played_yet(
    folder: LogFolder, tmp_path: Path, now: Target, starts_over: bool
) -> None:
    file = tmp_path / "position.json"
    whole = play(folder, file, HERE)
    assert PositionFile(file, folder, now).is_elsewhere == starts_over
    assert play(folder, file, now) == (whole if starts_over else 0)
    assert play(folder, file, now) == 0


def test_a_position_of_an_older_release_is_read(folder: LogFolder, tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    play(folder, file, None)
    old = json.loads(file.read_bytes())
    del old["target"]
    file.write_text(json.dumps(old))
    assert not PositionFile(file, folder, HERE).is_elsewhere
    assert play(folder, file, HERE) == 0
    assert json.loads(file.read_bytes())["target"]["cluster"] == "c", "from now on it names its cluster"
