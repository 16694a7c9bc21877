"""Progress of a restore: rates, time left, log lines and reasons of `/readyz`."""

import pytest
import structlog

from sidestream.streams.listens.restore.progress import LOG_EVERY_S, ProgressLog, RestoreProgress, not_restored


class FakeLane:
    partitions = frozenset({1, 3})

    def __init__(self, progress, ready=(), troubles=None):
        self.restore_progress, self._ready, self.troubles = progress, ready, troubles or {}

    def is_ready(self, partition):
        return partition in self._ready


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def logged():
    with structlog.testing.capture_logs() as lines:
        yield lines


def test_reasons_contain_progress_and_time_left():
    progress = {3: RestoreProgress(partition=3, start=100, position=120_100, end=400_100)}
    assert not_restored(FakeLane(progress)) == ["restoring partition 1", "restoring partition 3: 120,000 of 400,000"]
    progress[3].per_s = 70_000.0
    assert not_restored(FakeLane(progress, ready=(1,))) == ["restoring partition 3: 120,000 of 400,000, 4 s left"]
    progress[3].position = progress[3].end
    assert not_restored(FakeLane(progress)) == ["restoring partition 1", "restoring partition 3"]
    assert not_restored(FakeLane(progress, ready=(1, 3))) == []


def test_progress_is_logged_every_few_seconds_and_at_the_end(logged):
    clock = Clock()
    progress = {0: RestoreProgress(0, 0, 0, 1_000), 1: RestoreProgress(1, 0, 0, 200)}
    log = ProgressLog("changelog", progress, clock)
    log.note()
    assert logged == [], "nothing to log yet"
    clock.now_s += LOG_EVERY_S
    log.note()
    assert logged.pop()["left_s"] is None, "nothing is read yet"
    progress[0].position, progress[1].position = 250, 200
    clock.now_s += LOG_EVERY_S - 0.01
    log.note()
    assert logged == [], "the next line is not due"
    clock.now_s += 0.01
    log.note()
    line = logged.pop()
    assert (line["done"], line["total"], line["per_s"], line["partitions"]) == (450, 1_200, 45, 1)
    assert line["left_s"] == 30.0, "750 offsets at 25 a second"
    assert progress[0].left_s == 30.0
    progress[0].position = 1_000
    log.end()
    assert logged.pop()["done"] == 1_200


def test_a_partition_that_is_not_folded_now_is_a_reason_though_its_states_are_read():
    lane = FakeLane({}, ready={1, 3}, troubles={3: "no leader"})
    assert not_restored(lane) == ["partition 3 is not folded now: no leader"]
