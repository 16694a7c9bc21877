"""Users who stopped listening are removed by the sweep: once, with their blocks, and nobody else."""

import pytest

from sidestream.models.history import block_prefix, describe, is_erased
from sidestream.streams.listens.erasure import sweep as sweeping
from sidestream.streams.listens.erasure.sweep import DAY_MS
from tests.streams.listens.erasure.test_lane_erasures import FIRST_AT, Scene, ask
from tests.streams.listens.fake_kafka import NOW_MS, FakeKafka
from tests.streams.listens.lane_scenes import GUARANTEES, changelog

TODAY = NOW_MS + 30 * DAY_MS
LATER = {"state_ttl_days": 20, "now_ms": TODAY, "erasure_keep_days": 100}


def listen_today(kafka: FakeKafka, user: str, at: int = TODAY) -> None:
    """A listen whose Kafka timestamp is of today."""
    kafka.listen(0, user, at - FIRST_AT)
    log = kafka.logs["listens", 0]
    log[-1] = log[-1]._replace(timestamp=TODAY)


async def rounds(scene: Scene, count: int = 3) -> None:
    """Wait until a number of rounds of the sweep have begun."""
    before = scene.kafka.steps.count("end of listens")
    await scene.until(lambda: scene.kafka.steps.count("end of listens") >= before + count)


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_users_who_stopped_listening_are_removed_with_their_blocks(tmp_path, guarantee):
    kafka = FakeKafka()
    for number in range(300):
        kafka.listen(0, f"u{number % 3}", number)
    listen_today(kafka, "u1")
    async with Scene(kafka, tmp_path, guarantee, history_events=64, **LATER) as scene:
        await scene.until(lambda: scene.counts.expired_users == 2)
        assert [scene.lane.read(0, f"u{n}") is None for n in range(3)] == [True, False, True]
        table = scene.table.get(0)
        assert not list(table.scan(block_prefix(b"u0")))
        assert list(table.scan(block_prefix(b"u1")))
        await rounds(scene)
        assert (scene.counts.expired_users, scene.counts.forgotten_users) == (2, 0)
        # Back after all, as a stranger.
        listen_today(kafka, "u0")
        await scene.until(lambda: scene.lane.read(0, "u0") is not None)
        assert len(describe(scene.lane.read(0, "u0"))["history"]) == 1
        await rounds(scene)
        assert scene.counts.expired_users == 2
    left = {key for key, value in changelog(kafka).items() if value is not None}
    assert {key for key in left if key[:1] != b"\xff"} == {b"u0", b"u1"}
    assert all(key.startswith(block_prefix(b"u1")) for key in left if key[:1] == b"\xff")
    assert not kafka.crashes


async def test_nobody_expires_by_default(tmp_path):
    kafka = FakeKafka()
    kafka.listen(0, "u0", 0)
    listen_today(kafka, "u1")
    async with Scene(kafka, tmp_path, "exactly_once", now_ms=TODAY) as scene:
        await scene.drained()
        await rounds(scene)
        assert scene.lane.read(0, "u0") is not None
        assert scene.counts.expired_users == 0


async def test_a_clock_that_is_ahead_removes_nobody(tmp_path):
    kafka = FakeKafka()
    kafka.listen(0, "u0", 0)
    kafka.listen(1, "u1", 1)
    async with Scene(kafka, tmp_path, "exactly_once", **LATER) as scene:
        await scene.drained()
        await rounds(scene)
        assert scene.lane.read(0, "u0") is not None
        listen_today(kafka, "u2")
        await scene.until(lambda: scene.counts.expired_users == 2)
        assert scene.lane.read(1, "u1") is None, "another partition shows the time as well"


async def test_an_old_listen_that_arrives_late_keeps_its_user(tmp_path):
    kafka = FakeKafka()
    listen_today(kafka, "imported", FIRST_AT)
    async with Scene(kafka, tmp_path, "exactly_once", **LATER) as scene:
        await scene.drained()
        await rounds(scene)
        assert scene.lane.read(0, "imported") is not None


async def test_an_idle_user_who_was_erased_keeps_the_watermarks(tmp_path):
    kafka = FakeKafka()
    kafka.listen(0, "u0", 0)
    ask(kafka, 0, "u0", FIRST_AT)
    kafka.listen(0, "u0", 1)
    listen_today(kafka, "u1")
    async with Scene(kafka, tmp_path, "exactly_once", **LATER) as scene:
        await scene.until(lambda: scene.counts.expired_users == 1)
        assert is_erased(scene.lane.read(0, "u0"))
        await rounds(scene)
        assert (scene.counts.expired_users, scene.counts.forgotten_users) == (1, 0)


@pytest.mark.parametrize("steps", range(6))
async def test_a_crash_while_users_are_removed_is_made_good_by_the_next_worker(tmp_path, monkeypatch, steps):
    monkeypatch.setattr(sweeping, "PAGE_ROWS", 2)
    kafka = FakeKafka()
    for number in range(120):
        kafka.listen(0, f"u{number % 4}", number)
    listen_today(kafka, "young")
    async with Scene(kafka, tmp_path, "exactly_once", history_events=20) as scene:
        await scene.drained()
    kafka.acks_left = steps
    async with Scene(kafka, tmp_path, "exactly_once", history_events=20, **LATER) as scene:
        await scene.until(lambda: scene.counts.expired_users == 4)
    assert kafka.crashes
    kafka.acks_left = None
    kafka.crashes.clear()
    async with Scene(kafka, tmp_path, "exactly_once", history_events=20, **LATER) as scene:
        await scene.until(lambda: scene.lane.is_ready(0) and all(scene.lane.read(0, f"u{n}") is None for n in range(4)))
        await scene.drained()
    assert {key for key, value in changelog(kafka).items() if value is not None} == {b"young"}
