"""Exactly once on a real Kafka: kills at every point of a batch, workers that come and go, pauses past the session."""

import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest
from lane_faults import POINTS
from lane_rig import Rig, make_listens, wait_until

from streams.broker import RunningBroker

pytestmark = pytest.mark.broker


@pytest.fixture
def rig(kafka: RunningBroker, make_topics, tmp_path) -> Iterator[Rig]:
    topics = make_topics(user_partitions=4)
    prefix = topics.listens.name.removesuffix("listen-events.v1")
    rig = Rig(kafka.kafka, topics, prefix, tmp_path, guarantee="exactly_once", session_ms=3_000)
    yield rig
    rig.close()


def wait_fault(rig: Rig, name: str, action: str, times: int = 1) -> None:
    wait_until(lambda: rig.log(name).count(f"fault: {action}") == times, 40, f"{action} number {times} of {name}")


def wait_joined(rig: Rig, name: str, before: int = 0) -> None:
    """Wait until a worker was given partitions once more."""
    wait_until(lambda: rig.log(name).count("Setting newly assigned") > before, 40, f"{name} joined")


def kill_at_points(rig: Rig, points: list[str], lose_table: bool) -> None:
    with rig.listening(seed=21):
        for number, point in enumerate(points):
            worker = rig.start_worker(fault={"point": point, "at": 3 + number, "action": "kill"})
            assert worker.wait(40) == -signal.SIGKILL, rig.logs()
            if lose_table:
                shutil.rmtree(rig.data_dir("a"))
        worker = rig.start_worker()
        rig.wait_progress(500, "after the last kill")
    rig.wait_drained()
    assert rig.stop(worker) == 0
    rig.assert_exactly_once("a")


def test_kills_in_the_middle_of_batches_leave_no_trace(rig):
    kill_at_points(rig, ["sent", "committed"], lose_table=False)


@pytest.mark.slow
@pytest.mark.parametrize("lose_table", [False, True], ids=["table kept", "table lost"])
def test_kills_at_every_point_of_a_batch_leave_no_trace(rig, lose_table):
    kill_at_points(rig, [*POINTS, *POINTS], lose_table)


def pause_past_the_session(rig: Rig, point: str) -> subprocess.Popen[bytes]:
    """Pause worker a in the middle of a batch, let b take over, and wake a up again; return b."""
    with rig.listening(seed=22):
        zombie = rig.start_worker("a", fault={"point": point, "at": 6, "action": "pause"})
        wait_fault(rig, "a", "pause")
        heir = rig.start_worker("b")
        rig.wait_progress(1_000, "the heir folds")
        zombie.send_signal(signal.SIGCONT)
        assert zombie.wait(30) not in (0, -signal.SIGKILL), rig.logs()
        rig.workers.remove(zombie)
        assert "fenced at the batch" in rig.log("a")
        rig.wait_progress(500, "the heir goes on")
    return heir


def finish_on_the_zombies_table(rig: Rig, heir: subprocess.Popen[bytes]) -> None:
    """Give everything back to a, whose table is the one that it had when it was fenced."""
    again = rig.start_worker("a")
    wait_joined(rig, "a", before=rig.log("a").count("Setting newly assigned"))
    assert rig.stop(heir) == 0
    rig.produce(make_listens(400, users=400, seed=23))
    rig.wait_drained()
    assert rig.stop(again) == 0
    rig.assert_exactly_once("a")


def test_worker_that_was_paused_past_its_session_is_fenced(rig):
    heir = pause_past_the_session(rig, "sent")
    rig.wait_drained()
    assert rig.stop(heir) == 0
    rig.assert_exactly_once("b")


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_worker_is_fenced_wherever_it_was_paused(rig, point):
    finish_on_the_zombies_table(rig, pause_past_the_session(rig, point))


def test_refused_transactions_are_aborted_and_leave_no_trace(rig):
    with rig.listening(seed=24):
        worker = rig.start_worker(fault={"point": "offsets", "at": 3, "action": "refuse"})
        wait_fault(rig, "a", "refuse")
        rig.wait_progress(500, "after the abort")
    rig.produce_empty(2)
    rig.wait_drained()
    assert rig.stop(worker) == 0
    assert "transaction aborted, trying again" in rig.log("a")
    rig.assert_exactly_once("a")


@pytest.mark.slow
def test_workers_that_join_and_are_killed_hand_over_without_a_trace(rig):
    with rig.listening(seed=25):
        first = rig.start_worker("a")
        rig.wait_progress(500, "a alone")
        second = rig.start_worker("b")
        wait_joined(rig, "b")
        rig.wait_progress(500, "both")
        rig.kill(first)
        rig.wait_progress(1_500, "b alone")
        joined = rig.log("a").count("Setting newly assigned")
        rig.start_worker("a")
        wait_joined(rig, "a", joined)
        rig.wait_progress(300, "both again")
        rig.kill(second)
        rig.wait_progress(1_500, "a alone")
    rig.wait_drained()
    assert rig.stop(rig.workers[-1]) == 0
    rig.assert_exactly_once("a")
