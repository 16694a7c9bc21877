"""Answers are sent until they are acknowledged, by as many producers as it takes."""

import asyncio

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
)
from structlog.testing import capture_logs

from sidestream.streams.errors import LaneError
from sidestream.streams.kafka import outages
from sidestream.streams.sessions import sending
from tests.streams.sessions.session_fakes import TOPICS, record, until


@pytest.fixture(autouse=True)
def _short_times(monkeypatch):
    monkeypatch.setattr(outages, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(outages, "LONGEST_PAUSE_S", 0.002)
    monkeypatch.setattr(sending, "CLOSE_S", 0.01)


def within(one, limit_s):
    one.lane._sender._limit_s = limit_s
    return one


@pytest.mark.parametrize("error", [MessageSizeTooLargeError("no"), TopicAuthorizationFailedError("no")])
async def test_an_answer_that_kafka_will_not_take_stops_the_worker(bench, error):
    one = await bench(log={0: [record(0)]})
    one.clients.send_errors = [error]
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.crashed)
    assert isinstance(one.lane.crash_reason, LaneError)
    assert "session-starts.v1/0/0" in str(one.lane.crash_reason)
    assert one.lane.committable() == {}


async def test_a_rejected_dead_letter_stops_the_worker_before_its_offset(bench):
    one = await bench(log={0: [record(0, value=b"{not json"), record(1)]})
    one.clients.send_errors = [MessageSizeTooLargeError("no")]
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.crashed)
    assert isinstance(one.lane.crash_reason, LaneError)
    assert "session-starts.v1.dlq" in str(one.lane.crash_reason)
    assert one.lane.committable() == {}


async def test_a_topic_that_is_gone_stops_the_worker(bench):
    one = within(await bench(log={0: [record(0)]}), 0.05)
    one.clients.leaderless, one.clients.topics = {0}, {"others"}
    with capture_logs():
        await one.lane.on_assigned({0})
        await until(lambda: one.lane.crashed)
    assert TOPICS.candidates.name in str(one.lane.crash_reason)
    assert "UnknownTopicOrPartition" in str(one.lane.crash_reason)


async def test_after_an_error_the_answer_is_sent_again_by_another_producer(bench):
    one = await bench(log={0: [record(0), record(1)]})
    one.clients.send_errors = [OutOfOrderSequenceNumber(), KafkaError("not now")]
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.committable() == {0: 2})
    assert sorted(one.answered) == ["s0", "s1"]
    assert 2 <= len(one.clients.producers) <= 3
    await until(lambda: all(producer.is_closed for producer in one.clients.producers[:-1]))
    assert not one.lane._sender.unsent
    assert not one.clients.outages.of("candidates").is_on


async def test_a_producer_whose_sender_died_is_replaced_at_once(bench):
    one = await bench(log={0: [record(0)]})
    one.clients.kills_sender, one.clients.unreachable = 1, 0
    with capture_logs():
        await one.lane.on_assigned({0})
        await until(lambda: one.lane.committable() == {0: 1})
    assert len(one.clients.producers) == 2


async def test_a_sender_that_ended_for_want_of_rights_stops_the_worker(bench):
    one = await bench(log={0: [record(0)]})
    one.clients.hold = asyncio.Event()
    await one.lane.on_assigned({0})
    await until(lambda: one.log.num_taken)

    async def refused():
        raise KafkaError("Unexpected error") from ClusterAuthorizationFailedError()

    one.clients.producers[0]._sender.sender_task.cancel()
    one.clients.producers[0]._sender.sender_task = asyncio.ensure_future(refused())
    one.lane._sender._limit_s = 0.01
    one.log.records[0].append(record(1))
    await until(lambda: one.lane.crashed)
    assert "ClusterAuthorizationFailed" in repr(one.lane.crash_reason.__cause__.__cause__.__cause__)


async def test_kafka_may_be_away_for_long(bench):
    one = within(await bench(log={0: [record(0)]}), 0.02)
    gates = one.gate("s0")
    await one.lane.on_assigned({0})
    await until(lambda: one.answerer.active)
    one.clients.kills_sender, one.clients.unreachable = 1, 20
    seen = set()
    with capture_logs():
        gates["s0"].set()

        def is_done():
            seen.add(one.lane.work({0: 1}).done)
            return one.lane.committable() == {0: 1}

        await until(is_done)
    assert not one.clients.outages.of("candidates").is_on
    # Attempts are progress to the watchdog.
    assert len(seen) > 10
    assert one.answered == ["s0"]
    assert not one.lane.crashed


async def test_candidates_without_a_leader_delay_no_other_partition(bench):
    log = {0: [record(number) for number in range(10)], 1: []}
    one = within(await bench(log=log, max_waiting=4), 0.02)
    one.clients.leaderless = {0}
    with capture_logs():
        await one.lane.on_assigned({0, 1})
        await until(lambda: 0 in one.lane._sender.unsent)
        one.log.records[1] += [record(number, 1) for number in range(10)]
        await until(lambda: one.lane.committable() == {1: 10})
        one.log.records[0] += [record(number) for number in range(10, 30)]
        await until(lambda: one.log.num_taken == 30 + 10)
        # What waits for the leader is bounded: no more of its partition begin.
        assert len(one.lane._answering) <= 8
        one.clients.leaderless = set()
        await until(lambda: one.lane.committable() == {0: 30, 1: 10})


async def test_a_revocation_ends_the_attempts(bench):
    one = within(await bench(log={0: [record(0)]}, revoke_wait_ms=20), 0.01)
    one.clients.leaderless = {0}
    with capture_logs():
        await one.lane.on_assigned({0})
        await until(lambda: one.lane._sender.num_failed > 1)
        await one.lane.on_revoked({0})
        await until(lambda: not one.lane._answering)
    assert one.lane.committable() == {}
    assert not one.lane._sender.unsent
    assert not one.lane.crashed
