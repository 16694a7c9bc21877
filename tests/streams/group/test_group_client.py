"""Errors that aiokafka's group client stores: joined again, or the end of the worker; and static members replaced."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupLoadInProgressError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from sidestream.streams.group.group_client import GroupClient, InstanceReplacedError


class Coordinator:
    """What `GroupClient` knows of aiokafka's `GroupCoordinator`."""

    def __init__(self):
        self._pending_exception = None
        self._coordination_task = asyncio.get_running_loop().create_future()
        self._closing = asyncio.get_running_loop().create_future()
        self.calls, self.codes = [], []

    def request_rejoin(self):
        self.calls.append("rejoin")

    def check_errors(self):
        self.calls.append("check")
        error, self._pending_exception = self._pending_exception, None
        if error is not None:
            raise error

    async def _send_req(self, request):
        return SimpleNamespace(error_code=self.codes.pop(0))


@pytest.fixture
async def coordinator():
    return Coordinator()


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def make(coordinator, now):
    return lambda instance_id=None: GroupClient(coordinator, "g", instance_id, 10.0, lambda: now[0])


@pytest.mark.parametrize(
    "error", [KafkaError("Unexpected error from SyncGroup"), GroupLoadInProgressError()], ids=["unexpected", "loading"]
)
async def test_errors_of_brokers_under_restart_are_taken_and_the_group_is_joined_again(coordinator, make, error):
    client = make()
    assert client.failure("faust") is client.passing_error is None
    coordinator._pending_exception = error
    assert client.failure("faust") is None
    assert client.passing_error is error
    client.join_again()
    assert coordinator.calls == ["rejoin", "check"]
    assert client.passing_error is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GroupAuthorizationFailedError("g"), "check our rights"),
        (InvalidSessionTimeoutError(), "check our rights on the group, and the settings"),
        (InconsistentGroupProtocolError(), "lane.guarantee"),
    ],
    ids=["rights", "session", "guarantee"],
)
async def test_other_errors_end_the_worker(coordinator, make, error, said):
    client = make()
    coordinator._pending_exception = error
    assert said in str(client.failure("faust"))
    assert client.passing_error is None


async def test_a_client_that_has_ended_ends_the_worker(coordinator, make):
    client = make()
    coordinator._coordination_task.set_result(None)
    assert "group g: its client has ended" in str(client.failure("faust"))
    coordinator._closing.set_result(None)
    assert client.failure("faust") is None


HEARTBEAT = HeartbeatRequest("g", 1, "m")
JOIN = JoinGroupRequest("g", 1, 1, "m", "w1", "consumer", [])
SYNC = SyncGroupRequest("g", 1, "m", "w1", [])
FENCED_INSTANCE_ID = 82


async def test_a_replaced_static_member_ends_and_does_not_join_again(coordinator, make, now):
    client = make("w1")
    coordinator.codes = [0, UnknownMemberIdError.errno]
    await coordinator._send_req(HEARTBEAT)
    now[0] = 9.0
    with pytest.raises(InstanceReplacedError, match=r"worker\.group_instance_id 'w1'"):
        await coordinator._send_req(HEARTBEAT)
    assert "give each worker an id of its own" in str(client.failure("faust"))
    with pytest.raises(InstanceReplacedError):
        await coordinator._send_req(JoinGroupRequest("g", 1, 1, "", "w1", "consumer", []))


@pytest.mark.parametrize("request_", [JOIN, SYNC, HEARTBEAT], ids=["join", "sync", "heartbeat"])
async def test_a_static_member_that_is_replaced_during_a_rebalance_ends(coordinator, make, request_):
    """aiokafka stores this answer as an error that may pass: the worker would ask again for ever, and answer on."""
    client = make("w1")
    coordinator.codes = [FENCED_INSTANCE_ID]
    with pytest.raises(InstanceReplacedError, match=r"worker\.group_instance_id 'w1'"):
        await coordinator._send_req(request_)
    assert "give each worker an id of its own" in str(client.failure("faust"))


@pytest.mark.parametrize(
    ("request_", "code"),
    [(JOIN, 0), (SYNC, 0), (HEARTBEAT, RebalanceInProgressError.errno)],
    ids=["join", "sync", "27"],
)
async def test_a_rebalance_longer_than_a_session_does_not_hide_a_replacement(coordinator, make, now, request_, code):
    make("w1")
    coordinator.codes = [code, UnknownMemberIdError.errno]
    now[0] = 25.0
    await coordinator._send_req(request_)
    now[0] = 26.0
    with pytest.raises(InstanceReplacedError):
        await coordinator._send_req(HEARTBEAT)


async def test_a_static_member_whose_session_ended_joins_again(coordinator, make, now):
    client = make("w1")
    coordinator.codes = [0, UnknownMemberIdError.errno, 0]
    await coordinator._send_req(HEARTBEAT)
    now[0] = 10.5
    answer = await coordinator._send_req(HEARTBEAT)
    assert answer.error_code == UnknownMemberIdError.errno
    assert client.failure("faust") is None


async def test_a_dynamic_member_is_not_watched(coordinator, make):
    client = make()
    coordinator.codes = [UnknownMemberIdError.errno]
    await coordinator._send_req(HEARTBEAT)
    assert client.failure("faust") is None
