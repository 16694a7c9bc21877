"""Which session-starts are answered, on a real Kafka: none that is too old, all that came after the first readiness."""

import asyncio
import signal
import time

import pytest
from kafka import TopicPartition

from sidestream.models.records import SessionStart
from tests.integration.rigs.session_rig import AT, Rig, wait_until

pytestmark = pytest.mark.broker

HOUR_MS = 3_600_000


@pytest.fixture
def rig(kafka, make_topics, tmp_path):
    loop = Rig(kafka, make_topics(), tmp_path)
    yield loop
    loop.close()


def publish(loop, names, at):
    """Publish session-starts of many listeners with one Kafka timestamp."""

    async def run():
        producer = loop.clients.async_producer(linger_ms=20, max_batch_bytes=65_536)
        await producer.start()
        try:
            for number, name in enumerate(names):
                start = SessionStart(session_id=name, user_id=f"u{number % 50}", at=AT)
                key, value = start.user_id.encode(), start.to_json()
                await producer.send(loop.topics.session_starts.name, value, key, timestamp_ms=at)
        finally:
            await producer.stop()

    asyncio.run(run())


def now_ms():
    return time.time_ns() // 1_000_000


def committed(loop):
    consumer = loop.clients.consumer(group_id=loop.flags["worker.app_id"])
    topic = loop.topics.session_starts
    try:
        return [consumer.committed(TopicPartition(topic.name, number)) for number in range(topic.partitions)]
    finally:
        consumer.close()


def ended_positions(loop):
    consumer = loop.reader(loop.topics.session_starts.name)
    try:
        places = sorted(consumer.assignment(), key=lambda place: place.partition)
        return [consumer.end_offsets(places)[place] for place in places]
    finally:
        consumer.close()


def test_a_group_begins_at_the_end_and_keeps_what_came_after_its_first_readiness(rig):
    publish(rig, [f"before{number}" for number in range(40)], now_ms())
    rig.flags["engine_sleep_s"] = 2.0
    rig.flags["session.deadline_ms"] = 60_000
    rig.start().ready()
    # Readiness says that the start is kept by the group.
    assert committed(rig) == ended_positions(rig)
    # It dies before it commits anything else; on most machines also before it has answered.
    publish(rig, [f"after{number}" for number in range(40)], now_ms())
    assert rig.end(signal.SIGKILL) != 0
    del rig.flags["engine_sleep_s"]
    rig.start().ready()
    expected = {f"after{number}" for number in range(40)}
    wait_until(lambda: {one.session_id for one in rig.sets()} >= expected, what="all answers")
    assert {one.session_id for one in rig.all_sets()} == expected
    assert rig.end() == 0


@pytest.mark.slow
def test_a_current_session_does_not_wait_for_old_ones(rig):
    rig.flags["session.max_age_ms"] = 600_000  # longer than a worker takes to start on any machine
    rig.start().ready()
    assert rig.end() == 0
    old = [f"old{number}" for number in range(20_000)]
    publish(rig, old, now_ms() - HOUR_MS)
    publish(rig, ["waiting"], now_ms() - 5_000)
    rig.start().ready()
    rig.session("current")
    rig.flush()
    assert rig.answer("waiting", 20.0).session_id == "waiting"
    assert rig.answer("current", 20.0).session_id == "current"
    assert rig.metric('sidestream_sessions_skipped_total{reason="stale"}') == 20_000
    # An old one that comes now is skipped by itself.
    publish(rig, ["late"], now_ms() - HOUR_MS)
    skipped = 'sidestream_sessions_skipped_total{reason="stale"}'
    wait_until(lambda: rig.metric(skipped) == 20_001, what="the late one is skipped")
    rig.session("last")
    rig.answer("last")
    wait_until(lambda: committed(rig) == ended_positions(rig), what="all are committed")
    assert {one.session_id for one in rig.all_sets()} == {"waiting", "current", "last"}
    assert rig.end() == 0
    text = rig.log.read_text()
    assert text.count("session-starts skipped") == 2
    assert "session.max_age_ms = 600000" in text
    assert "clock is behind" in text


@pytest.mark.slow
@pytest.mark.parametrize("down_s", [2.0, 15.0])
def test_sessions_in_flight_survive_a_broker(mortal_kafka, tmp_path, down_s):
    loop = Rig(mortal_kafka, mortal_kafka.make_topics(), tmp_path, **{"worker.watchdog.no_progress_s": 8.0})
    try:
        loop.start().ready()
        names = [f"s{number}" for number in range(300)]
        publish(loop, names[:100], now_ms())
        wait_until(lambda: loop.sets(), what="the first answers")
        publish(loop, names[100:], now_ms())
        loop.close_clients()
        mortal_kafka.kill()
        until_s = time.monotonic() + down_s
        while time.monotonic() < until_s:
            assert loop.process.poll() is None, loop.log.read_text()[-3_000:]
            time.sleep(0.1)
        mortal_kafka.restart()
        loop.ready(60)
        loop.session("after")
        loop.answer("after", 30)
        wait_until(lambda: {one.session_id for one in loop.sets()} >= {*names, "after"}, 60, "all answers")
        ids = {}
        for one in loop.all_sets():
            ids.setdefault(one.session_id, set()).add(one.candidate_set_id)
        assert all(len(some) == 1 for some in ids.values())
        assert loop.end() == 0
    finally:
        loop.close()
