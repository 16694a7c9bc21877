"""Committed offsets are never taken for missing because their coordinator has moved or is loading them."""

from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
from aiokafka.protocol.commit import OffsetFetchResponse_v1, OffsetFetchResponse_v3

from sidestream.streams.kafka.records import offset_fetch

PLACE = TopicPartition("listens", 0)
FOUND = OffsetFetchResponse_v3(0, [("listens", [(0, 42, "", 0)])], 0)


class Brokers:
    """Answers offset fetches in turn; the coordinator is looked up again once it is taken for dead."""

    def __init__(self, *responses):
        self.responses, self.lookups = list(responses), 0

    async def send(self, node_id, request, group):
        return self.responses.pop(0)


def asked(*responses):
    brokers = Brokers(*responses)
    coordinator = SimpleNamespace(_client=brokers, coordinator_id=1, group_id="group", _retry_backoff_ms=1)

    async def ensure_coordinator_known():
        if coordinator.coordinator_id is None:
            coordinator.coordinator_id = 2
            brokers.lookups += 1

    coordinator.ensure_coordinator_known = ensure_coordinator_known
    coordinator.coordinator_dead = lambda: setattr(coordinator, "coordinator_id", None)
    for name in ("fetch_committed_offsets", "_do_fetch_commit_offsets", "_send_req"):
        setattr(coordinator, name, getattr(GroupCoordinator, name).__get__(coordinator))
    return coordinator, brokers


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(GroupCoordinator, "_send_req", GroupCoordinator._send_req)
    offset_fetch.install()
    offset_fetch.install()


def failed(error):
    return OffsetFetchResponse_v3(0, [], error.errno)


@pytest.mark.parametrize(
    ("error", "lookups"),
    [(NotCoordinatorForGroupError, 1), (GroupCoordinatorNotAvailableError, 1), (GroupLoadInProgressError, 0)],
)
async def test_it_asks_again_while_the_coordinator_moves(error, lookups):
    coordinator, brokers = asked(failed(error), failed(error), FOUND)
    assert (await coordinator.fetch_committed_offsets([PLACE]))[PLACE].offset == 42
    assert brokers.lookups == 2 * lookups


async def test_what_does_not_pass_is_raised():
    coordinator, _ = asked(failed(GroupAuthorizationFailedError))
    with pytest.raises(GroupAuthorizationFailedError):
        await coordinator.fetch_committed_offsets([PLACE])


@pytest.mark.parametrize("response", [FOUND, OffsetFetchResponse_v1([("listens", [(0, 42, "", 0)])])])
async def test_offsets_are_read(response):
    coordinator, _ = asked(response)
    assert (await coordinator.fetch_committed_offsets([PLACE]))[PLACE].offset == 42


async def test_a_group_that_never_committed_has_none():
    coordinator, _ = asked(OffsetFetchResponse_v3(0, [("listens", [(0, -1, "", 0)])], 0))
    assert await coordinator.fetch_committed_offsets([PLACE]) == {}
