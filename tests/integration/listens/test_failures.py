"""The failure table: after each failure a worker recovers or ends with its exit code within its limit and a reason.

Every row runs with short limits and, with `slow`, with the limits that are the default; the longer rows are `slow`
alone. Kafkas come before rigs in the arguments, so that a test's clients are closed before their Kafka ends.
"""

import signal
import time

import pytest

from sidestream.streams.worker.watch.watchdog import ExitCode
from tests.integration.rigs.failure_rig import MARGIN_S, ended, ready_with_items, state_size
from tests.integration.rigs.session_rig import wait_until

pytestmark = pytest.mark.broker


def listens_at_work(loop, limit_s=40.0):
    """Create a backlog and wait until it is being processed."""
    for number in range(40_000):
        loop.listen(f"u{number % 2_000}", f"i{number % 5}", 10_000 + number)
    loop.flush()
    loop.start()
    wait_until(lambda: loop.metric('sidestream_listens_total{outcome="applied"}') > 0, limit_s, "the first listens")


@pytest.mark.slow
def test_broker_gone_with_work_waiting(mortal_kafka, make_rig, limits, failure):
    loop = make_rig(
        mortal_kafka, mortal_kafka.make_topics(), **{"lane.max_batch_records": 20, "lane.fetch_bytes": 4096}
    )
    listens_at_work(loop)
    loop.close_clients()  # kafka-python leaves sockets behind when its Kafka dies
    mortal_kafka.kill()
    code, seconds, last = ended(loop, limits.no_progress + 30)
    assert code in (ExitCode.NO_PROGRESS, ExitCode.CRASHED), last
    # The catalogue agent may wait, too, and since earlier.
    waited = ("catalog agent", loop.topics.listens.name, loop.topics.user_state_changelog.name)
    assert any(name in last for name in waited), last
    failure("broker gone, work waiting", f"exit {code}", seconds, limits.no_progress + MARGIN_S)


@pytest.mark.slow
def test_broker_gone_without_work_and_back(mortal_kafka, make_rig, limits, failure):
    loop = ready_with_items(make_rig(mortal_kafka, mortal_kafka.make_topics()))
    loop.close_clients()  # kafka-python leaves sockets behind when its Kafka dies
    mortal_kafka.kill()
    killed = time.monotonic()
    wait_until(lambda: any("no answer" in why for why in loop.get("/readyz")[1]["reasons"]), 15, "/readyz says so")
    failure("broker gone, no work: /readyz says so", "not ready", time.monotonic() - killed, 10.0)
    while time.monotonic() < killed + limits.no_progress + limits.session + MARGIN_S:
        assert loop.process.poll() is None, loop.log.read_text()[-2_000:]
        assert loop.get("/livez")[1]["reasons"] == []
        time.sleep(0.5)
    mortal_kafka.restart()
    began = time.monotonic()
    loop.ready(60)
    loop.session("after")
    loop.answer("after", 30)
    failure("broker back after a long absence", "recovered", time.monotonic() - began, 35.0)
    assert loop.end() == 0


def test_broker_gone_then_sigterm(mortal_kafka, make_rig, limits, failure):
    loop = ready_with_items(make_rig(mortal_kafka, mortal_kafka.make_topics()))
    loop.close_clients()  # kafka-python leaves sockets behind when its Kafka dies
    mortal_kafka.kill()
    wait_until(lambda: loop.get("/readyz")[0] == 503, 15, "/readyz says so")
    loop.process.send_signal(signal.SIGTERM)
    code, seconds, last = ended(loop, limits.shutdown + 30)
    assert code in (ExitCode.OK, ExitCode.SHUTDOWN_TOO_LONG), last
    failure("broker gone, then SIGTERM", f"exit {code}", seconds, limits.shutdown + MARGIN_S)


@pytest.mark.slow
def test_sigterm_under_load(rig, limits, failure):
    loop = rig()
    listens_at_work(loop)
    loop.process.send_signal(signal.SIGTERM)
    code, seconds, last = ended(loop, limits.shutdown + 30)
    assert code == ExitCode.OK, last
    failure("SIGTERM under load", "exit 0", seconds, 10.0)


@pytest.mark.parametrize("lane", ["listen", pytest.param("session", marks=pytest.mark.slow)])
def test_handler_raises(rig, limits, failure, lane):
    loop = ready_with_items(rig())
    topic = loop.topics.listens if lane == "listen" else loop.topics.session_starts
    loop.send(topic, "raise", {"user_id": "raise"}).get(10)
    code, seconds, last = ended(loop, 60)
    assert code == ExitCode.CRASHED
    assert "RuntimeError('the handler\\\\nraised')" in last
    failure(f"{lane} handler raises", "exit 70", seconds, limits.shutdown + MARGIN_S)


@pytest.mark.slow
def test_loop_blocked(rig, limits, failure):
    loop = ready_with_items(rig())
    loop.send(loop.topics.listens, "block", {"user_id": "block"}).get(10)
    code, seconds, last = ended(loop, limits.loop_blocked + 30)
    assert code == ExitCode.LOOP_BLOCKED, last
    assert "wrapped (faulty_worker.py:" in last
    failure("event loop blocked", "exit 72", seconds, limits.loop_blocked + MARGIN_S)


@pytest.mark.slow
def test_process_paused_past_its_session_while_another_takes_over(make_rig, kafka, make_topics, limits, failure):
    topics = make_topics()
    first = ready_with_items(make_rig(kafka, topics))
    first.process.send_signal(signal.SIGSTOP)
    try:
        second = make_rig(kafka, topics)
        second.start().ready(limits.session + 30)
        for number in range(10):
            second.listen("u", f"i{number % 5}", 3_000 + number)
        second.flush()
        wait_until(lambda: state_size(second) == 11, what="the survivor folds")
    finally:
        first.process.send_signal(signal.SIGCONT)
    began = time.monotonic()
    for number in range(10):
        second.listen("u", f"i{number % 5}", 5_000 + number)
    second.flush()

    def settled():
        alive = [loop for loop in (first, second) if loop.process.poll() is None]
        if first in alive and first.get("/readyz")[0] != 200:
            return False
        return sorted(state_size(loop) for loop in alive) == [-1, 21][2 - len(alive) :]

    wait_until(settled, limits.no_progress + 10, "one owner, each listen folded once")
    outcome = "recovered" if first.process.poll() is None else f"exit {first.process.returncode}"
    assert outcome in ("recovered", "exit 70"), first.log.read_text()[-2_000:]
    failure("paused past its session, replaced in the meantime", outcome, time.monotonic() - began, 20.0)


@pytest.mark.slow
def test_transaction_log_below_its_min_isr(brokers, make_rig, limits, failure):
    loop = ready_with_items(make_rig(brokers, brokers.make_topics()))
    brokers.set_min_isr("__transaction_state", 3)
    brokers.node(3).kill()
    began = time.monotonic()
    for number in range(50):
        loop.listen(f"u{number}", "i1", 3_000 + number)
    loop.listen("u", "i1", 4_000)
    loop.flush()
    names = loop.topics.listens.name, loop.topics.user_state_changelog.name

    def is_told():
        return any(name in why for why in loop.get("/readyz")[1]["reasons"] for name in names)

    wait_until(is_told, limits.no_progress + 40, "/readyz says so")
    failure("transaction log below its min ISR", "not ready", time.monotonic() - began, 30.0)
    brokers.start(3)
    loop.ready(90)
    wait_until(lambda: state_size(loop) == 2, 30, "each listen folded once")
    failure("transaction log whole again", "recovered", time.monotonic() - began, 120.0)
    assert loop.end() == 0


@pytest.mark.slow
def test_changelog_topic_deleted(rig, limits, failure):
    loop = ready_with_items(rig())
    admin = loop.clients.admin()
    admin.delete_topics([loop.topics.user_state_changelog.name])
    admin.close()
    loop.listen("u", "i1", 3_000)
    loop.flush()
    code, seconds, last = ended(loop, limits.no_progress + 30)
    assert code in (ExitCode.NO_PROGRESS, ExitCode.CRASHED), last
    failure("changelog topic deleted", f"exit {code}", seconds, limits.no_progress + MARGIN_S)
    code, seconds, last = (loop.start() and None) or ended(loop, 60)
    assert code == ExitCode.NOT_STARTED
    assert loop.topics.user_state_changelog.name in last
    failure("changelog topic missing at the start", "exit 1", seconds, 20.0)


@pytest.mark.slow
def test_poison_batch(rig, limits, failure):
    loop = ready_with_items(rig())
    for number in range(5_000):
        loop.send(loop.topics.listens, f"u{number}", b"{broken")
    for number in range(500):
        loop.send(loop.topics.session_starts, f"u{number}", b"{broken")
    loop.flush()
    began = time.monotonic()
    loop.listen("u", "i1", 3_000)
    loop.session("good")
    loop.flush()
    wait_until(lambda: state_size(loop) == 2, 30, "the good listen behind them")
    loop.answer("good", 30)
    failure("poison batch: 5,000 listens, 500 sessions", "recovered", time.monotonic() - began, 30.0)
    assert len(loop.letters(loop.topics.listens.name + ".dlq", 5_000)) == 5_000
    assert len(loop.letters(loop.topics.session_starts.name + ".dlq", 500)) == 500
    assert loop.end() == 0
