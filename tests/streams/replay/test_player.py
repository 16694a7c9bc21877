import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from sidestream.models.data import (
    Clock,
    FolderFacts,
    HeldOutRow,
    ListenRow,
    LogFolder,
    LogFolderWriter,
    LogRow,
    Split,
)
from sidestream.models.history import MAX_EVENT_IDS, fold
from sidestream.models.records import CatalogItem, Listen, SessionStart
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.errors import DataError
from sidestream.streams.replay import Player, Progress, ReplaySettings
from sidestream.streams.replay.position import PositionFile

T = 1_700_000_000_000
FACTS = FolderFacts(
    name="tiny",
    source="made by hand",
    licence="none",
    events_are="listens",
    clock=Clock(kind="synthetic", statement="counts"),
    split=Split(protocol="leave_one_out", statement="last"),
)


class Wall:
    """A clock that is advanced by sleeping."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.on_sleep = None

    def seconds(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if self.on_sleep is not None:
            self.on_sleep()


class Keeper:
    """Stores published rows; fails on a given batch."""

    def __init__(self, wall: Wall | None = None, fail_at: int = -1) -> None:
        self.batches: list[list[LogRow]] = []
        self.times: list[float] = []
        self._wall = wall or Wall()
        self._fail_at = fail_at

    async def publish(self, rows: Sequence[LogRow]) -> None:
        self.batches.append(list(rows))
        self.times.append(self._wall.now_s)
        if len(self.batches) - 1 == self._fail_at:
            raise ConnectionError

    @property
    def rows(self) -> list[LogRow]:
        return [row for batch in self.batches for row in batch]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LogFolder:
    path = tmp_path_factory.mktemp("world") / "log"
    generate_world(path, WorldSettings(seed=5, listeners=30, days=5))
    return LogFolder(path)


def tiny(path: Path) -> LogFolder:
    with LogFolderWriter(path) as writer:
        writer.item(CatalogItem(item_id="a", kind="live", title="A", at=T, published_at=T, expires_at=T + 90_000))
        writer.listen(ListenRow("e1", "u", "a", T + 1_000))
        writer.session(SessionStart(session_id="s1", user_id="u", at=T + 5_000))
        writer.listen(ListenRow("e2", "u", "a", T + 61_000))
        writer.heldout(HeldOutRow("e2", "u", "a", T + 61_000, role="valid"))
        writer.removal("a", T + 100_000)
        writer.heldout(HeldOutRow("e3", "u", "a", T + 200_000, role="test"))
        writer.finish(FACTS)
    return LogFolder(path)


def test_plays_everything_in_order_and_reports(world: LogFolder, tmp_path: Path) -> None:
    keeper, seen = Keeper(), list[Progress]()
    player = Player(world, keeper, position=PositionFile(tmp_path / "position.json", world), on_progress=seen.append)
    last = asyncio.run(player.play())
    assert keeper.rows == list(world.merged())
    assert last.done
    assert last.published == last.total == len(keeper.rows)
    assert last.sent["listens"] == world.manifest.counts.listens
    assert [progress.published for progress in seen] == sorted({progress.published for progress in seen})
    again = Keeper()
    assert asyncio.run(Player(world, again, position=PositionFile(tmp_path / "position.json", world)).play()).done
    assert not again.rows


def test_batches_have_no_more_listens_per_user_than_states_have_event_ids(world: LogFolder) -> None:
    keeper = Keeper()
    asyncio.run(Player(world, keeper, ReplaySettings(max_batch=100)).play())
    for batch in keeper.batches:
        assert len(batch) <= 100
        assert len({row.topic == "catalog" for row in batch}) == 1
        users = [row.key for row in batch if row.topic == "listens"]
        assert all(users.count(user) <= MAX_EVENT_IDS for user in set(users))
    assert max(len(batch) for batch in keeper.batches) == 100


@pytest.mark.parametrize("fail_at", [0, 3, 11])
def test_a_crash_repeats_one_batch_and_the_fold_is_the_same(world: LogFolder, tmp_path: Path, fail_at: int) -> None:
    position = tmp_path / "position.json"
    first = Keeper(fail_at=fail_at)
    with pytest.raises(ConnectionError):
        asyncio.run(Player(world, first, position=PositionFile(position, world)).play())
    second = Keeper()
    last = asyncio.run(Player(world, second, position=PositionFile(position, world)).play())
    assert second.batches[0] == first.batches[-1]
    assert last.done
    whole = list(world.merged())
    assert [row for batch in first.batches[:-1] for row in batch] + second.rows == whole
    # What was sent before the crash may have arrived: the state must not count it twice.
    log = [row for row in first.rows + second.rows if row.topic == "listens"]
    for user in {row.key for row in log}:
        mine = [row.record for row in log if row.key == user]
        once = [row.record for row in whole if row.topic == "listens" and row.key == user]
        twice = fold(None, list(enumerate(mine)), lambda key: None)
        assert twice.applied == len(once)


def test_speed_follows_the_log(tmp_path: Path) -> None:
    wall = Wall()
    keeper = Keeper(wall)
    settings = ReplaySettings(speed=10)
    player = Player(tiny(tmp_path / "log"), keeper, settings, seconds=wall.seconds, sleep=wall.sleep)
    asyncio.run(player.play())
    assert [row.at - T for row in keeper.rows] == [0, 1_000, 5_000, 61_000, 100_000]
    assert keeper.times == pytest.approx([100.0, 100.1, 100.5, 106.1, 110.0])


def test_pause_stops_the_log_time(tmp_path: Path) -> None:
    wall, looks = Wall(), []
    keeper = Keeper(wall)
    settings = ReplaySettings(speed=10)
    player = Player(tiny(tmp_path / "log"), keeper, settings, seconds=wall.seconds, sleep=wall.sleep)

    def look() -> None:
        looks.append(len(keeper.rows))
        if len(keeper.rows) == 3 and len(looks) < 50:
            player.pause()
        elif len(looks) >= 50:
            player.resume()

    wall.on_sleep = look
    asyncio.run(player.play())
    assert len(keeper.rows) == 5
    # The row that was waited for is sent on resume; the next one keeps its distance of 39 s of log time to it.
    assert keeper.times[3] > 108
    assert keeper.times[4] - keeper.times[3] == pytest.approx(3.9)


def test_stop_and_go_on(world: LogFolder, tmp_path: Path) -> None:
    position = tmp_path / "position.json"
    keeper = Keeper()
    rows: list[LogRow] = []
    for _ in range(1_000):
        keeper = Keeper()
        player = Player(world, keeper, ReplaySettings(max_batch=50), position=PositionFile(position, world))
        player._on_progress = lambda progress, player=player: player.stop()
        last = asyncio.run(player.play())
        assert len(keeper.batches) <= 2
        rows += keeper.rows
        if last.done:
            break
    assert rows == list(world.merged())


def test_shift_moves_every_time(tmp_path: Path) -> None:
    keeper = Keeper()
    asyncio.run(Player(tiny(tmp_path / "log"), keeper, ReplaySettings(shift_ms=7)).play())
    item = CatalogItem.from_json(keeper.rows[0].value or b"")
    assert (item.at, item.published_at, item.expires_at) == (T + 7, T + 7, T + 90_007)
    assert Listen.from_json(keeper.rows[1].value or b"").at == keeper.rows[1].at == T + 1_007
    assert SessionStart.from_json(keeper.rows[2].value or b"").at == T + 5_007
    assert keeper.rows[4].value is None


def test_held_out_listens_and_a_session_after_them(tmp_path: Path) -> None:
    folder, keeper = tiny(tmp_path / "log"), Keeper()
    settings = ReplaySettings(heldout=True, session_after_heldout=True)
    last = asyncio.run(
        Player(folder, keeper, settings, position=PositionFile(tmp_path / "position.json", folder)).play()
    )
    assert last.done
    listen, start = keeper.rows[-2:]
    assert json.loads(listen.value or b"") == {"event_id": "e3", "user_id": "u", "item_id": "a", "at": T + 200_000}
    assert SessionStart.from_json(start.value or b"").at == T + 200_001
    assert [row.topic for row in keeper.rows].count("listens") == 2
    assert last.sent == {"catalog": 2, "listens": 2, "sessions": 2, "heldout": 1}


def test_a_position_of_another_log_is_refused(world: LogFolder, tmp_path: Path) -> None:
    position, other = tmp_path / "position.json", tiny(tmp_path / "log")
    asyncio.run(Player(world, Keeper(), position=PositionFile(position, world)).play())
    with pytest.raises(DataError, match="remove it to start over"):
        asyncio.run(Player(other, Keeper(), position=PositionFile(position, other)).play())
    position.write_text('{"folder": "x"')
    with pytest.raises(DataError, match="damaged"):
        asyncio.run(Player(world, Keeper(), position=PositionFile(position, world)).play())


def test_a_malformed_line_ends_the_replay_with_file_and_line(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "log")
    path = folder.path / "events/listens.jsonl"
    path.write_text(path.read_text().replace('"e2"', "2"))
    keeper = Keeper()
    with pytest.raises(DataError, match=r"listens\.jsonl:2:"):
        asyncio.run(Player(folder, keeper, position=PositionFile(tmp_path / "position.json", folder)).play())
