import asyncio

import pytest

from sidestream.models.data import LogFolder
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.demo.ledger import Ledger
from sidestream.streams.demo.play import Pass, TimeLeft, play
from sidestream.streams.errors import SidestreamError


class Sink:
    def __init__(self):
        self.rows = []

    async def publish(self, rows):
        self.rows.extend(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("world") / "log"
    generate_world(path, WorldSettings(listeners=10, shows=2, artists=2, books=1, live_per_day=0, days=2))
    return LogFolder(path)


def _play(folder, sink, ready):
    counts = folder.manifest
    how = Pass(0, 0.2, counts.last_at - counts.first_at)
    asyncio.run(asyncio.wait_for(play(folder, sink, Ledger(), how, ready, lambda at: None), 20))


def test_listens_wait_until_the_first_items_are_known(folder):
    sink, asked = Sink(), []

    def ready(num_items):
        asked.append([row.topic for row in sink.rows])
        return len(asked) == 3

    _play(folder, sink, ready)
    assert set(asked[-1]) == {"catalog"}
    assert {row.topic for row in sink.rows} == {"catalog", "listens", "sessions"}


def test_a_worker_that_never_knows_them_ends_the_play(folder):
    def ready(num_items):
        msg = "worker ended"
        raise SidestreamError(msg)

    sink = Sink()
    with pytest.raises(SidestreamError, match="worker ended"):
        _play(folder, sink, ready)
    assert {row.topic for row in sink.rows} == {"catalog"}


def test_time_left_is_the_plan_or_what_the_speed_so_far_says():
    now = [0.0]
    on_time, slow = (TimeLeft(Pass(0, 100.0, 1_000), 5_000, seconds=lambda: now[0]) for _ in range(2))
    assert on_time.left_s(None) == 100.0
    now[0] = 50.0  # the catalogue was waited for
    assert on_time.left_s(5_000) == slow.left_s(5_000) == 100.0
    now[0] = 75.0
    assert on_time.left_s(5_250) == 75.0
    now[0] = 150.0
    assert slow.left_s(5_250) == 300.0
    assert slow.left_s(6_000) == on_time.left_s(7_000) == 0.0
