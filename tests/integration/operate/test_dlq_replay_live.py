"""Replays into running workers: transactions in the source topics are harmless, bad records fail again."""

import asyncio

import pytest
from kafka import TopicPartition

from sidestream.streams.contracts.deadletters import ATTEMPT_HEADER, REASON_HEADER
from sidestream.streams.operate.deadletters import DeadLetterReader, Replayer, Selection
from tests.integration.rigs.lane_rig import Rig as LaneRig
from tests.integration.rigs.lane_rig import make_listens
from tests.integration.rigs.session_rig import Rig as WorkerRig
from tests.integration.rigs.session_rig import wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
def lane(kafka, make_topics, tmp_path):
    topics = make_topics(user_partitions=2)
    rig = LaneRig(kafka.kafka, topics, topics.listens.name.removesuffix("listen-events.v1"), tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def worker(kafka, make_topics, tmp_path):
    rig = WorkerRig(kafka, make_topics(item_partitions=1), tmp_path, **{"session.start": "beginning"})
    yield rig
    rig.close()


def replay(clients, topics) -> int:
    report = asyncio.run(Replayer(clients, DeadLetterReader(clients, topics)).replay(Selection()))
    assert report.exactly_once
    return report.replayed.total()


@pytest.mark.slow
def test_the_listen_lane_continues_after_a_replay(lane):
    lane.produce(make_listens(1_000, users=20, seed=6))
    running = lane.start_worker()
    lane.wait_drained()
    dlq = lane.topics.listens.dead_letters
    bad = len(lane.expected()[1])
    assert replay(lane.clients, lane.topics) == bad

    def letters_by_attempt() -> list[int]:
        found = [record for record in lane.read_all(dlq) if REASON_HEADER in dict(record.headers)]
        return sorted(int(dict(record.headers).get(ATTEMPT_HEADER, 1)) for record in found)

    wait_until(lambda: len(letters_by_attempt()) >= 2 * bad, 20.0, "the second deaths")
    assert letters_by_attempt() == [1] * bad + [2] * bad
    lane.produce(make_listens(1_000, users=20, seed=7))

    def states_are_the_fold() -> bool:
        return lane.changelog() == lane.expected()[0]

    wait_until(states_are_the_fold, 20.0, "the listens after the replay")
    assert lane.stop(running) == 0
    assert lane.table() == lane.expected()[0]


@pytest.mark.slow
def test_the_catalogue_and_sessions_continue_after_a_replay(worker):
    topics = worker.topics
    worker.item("i0")
    worker.send(topics.catalog_items, "bad", b"{broken")
    worker.send(topics.session_starts, "u", b"{broken")
    worker.flush()
    worker.start().ready()
    for source in (topics.catalog_items, topics.session_starts):
        worker.letters(source.dead_letters, 1)
    assert replay(worker.clients, topics) == 2
    for source in (topics.catalog_items, topics.session_starts):
        # The first death, the mark of its replay, and the second death.
        attempts = [dict(r.headers).get(ATTEMPT_HEADER) for r in worker.letters(source.dead_letters, 3)]
        assert attempts == [None, None, b"2"]
    worker.item("i1").get(10)
    wait_until(lambda: worker.metric("sidestream_catalogue_items") == 2, what="the item after the replay")
    worker.session("s").get(10)
    assert worker.answer("s").candidates

    place = TopicPartition(topics.catalog_items.name, 0)
    consumer = worker.clients.consumer(group_id=worker.flags["worker.app_id"])
    last_item = 4  # i0, bad, bad again, the end of its transaction, i1
    wait_until(lambda: (consumer.committed(place) or 0) > last_item, 20.0, "a commit past the transaction")
    consumer.close()
    assert worker.end() == 0
