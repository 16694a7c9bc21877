"""Membership of a lane in its worker's Faust app: registration, committed offsets, standbys, liveness in the group."""

import asyncio
from collections.abc import Collection, Mapping
from typing import cast

import faust
from aiokafka import TopicPartition
from faust.assignor.partition_assignor import PartitionAssignor

from sidestream.streams.errors import SettingsError
from sidestream.streams.group.transport import LaneTransport, _Consumer, _ConsumerThread
from sidestream.streams.runtime.lane_protocol import PartitionLane

# How often to ask again whether this worker is a member.
_ASK_S = 0.5


class FaustHost:
    """`LaneHost` of a Faust app.

    Args:
        app: The app, with a `LaneTransport`.
    """

    def __init__(self, app: faust.App) -> None:
        self._app = app

    @property
    def group_id(self) -> str:
        """Name of the consumer group, which Faust sets to the app's id."""
        return str(self._app.conf.id)

    async def committed(self, topic: str, partitions: Collection[int]) -> dict[int, int | None]:
        """Read the group's committed offsets from the broker."""
        return await committed(self._app, topic, partitions)

    async def commit(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets through Faust's own consumer: the broker refuses those of a member that was replaced."""
        thread = cast(_Consumer, self._app.consumer)._thread
        commit = thread._ensure_consumer().commit
        await thread.call_thread(commit, {TopicPartition(topic, p): offset for p, offset in offsets.items()})

    def standbys(self, topic: str) -> frozenset[int]:
        """Read the standbys of the last assignment from Faust's assignor."""
        standbys = cast(PartitionAssignor, self._app.assignor).assigned_standbys()
        return frozenset(tp.partition for tp in standbys if tp.topic == topic)

    async def confirm_member(self) -> bool:
        """Send a heartbeat through Faust's own consumer, until the coordinator answers and no rebalance is going on."""
        consumer = cast(_Consumer, self._app.consumer)
        # The new owner of a partition may fence this worker before it knows its new assignment.
        while consumer.is_rebalancing:  # noqa: ASYNC110 - the state of Faust's consumer
            await asyncio.sleep(_ASK_S)
        thread = cast(_ConsumerThread, consumer._thread)
        coordinator = thread._ensure_consumer()._coordinator
        while thread.is_member:
            if await thread.call_thread(coordinator._do_heartbeat):
                return True
            await asyncio.sleep(_ASK_S)
        return False

    async def crash(self, reason: BaseException) -> None:
        """End the worker with a non-zero exit code."""
        await self._app.crash(reason)


def register(app: faust.App, lane: PartitionLane) -> None:
    """Let Faust assign a lane's topic. Lanes stop in reverse order of registration.

    Args:
        app: App made by `make_faust_app`, not started yet.
        lane: The lane.

    Raises:
        SettingsError: The app has another transport, or the topic already has a lane.
    """
    transport = app.transport
    if not isinstance(transport, LaneTransport):
        msg = f"lane of {lane.topic}: expected an app of make_faust_app, got one with {type(transport).__name__}"
        raise SettingsError(msg)
    if lane.topic in transport.lanes:
        msg = f"lane of {lane.topic}: expected one lane for a topic, got a second one"
        raise SettingsError(msg)
    transport.lanes[lane.topic] = lane
    app.topics.add(
        app.topic(lane.topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    )


async def committed(app: faust.App, topic: str, partitions: Collection[int]) -> dict[int, int | None]:
    """Read the group's committed offsets from the broker, through Faust's own consumer.

    Args:
        app: Running app.
        topic: Any topic of the group.
        partitions: Partition numbers.

    Returns:
        Next offset by partition; None where the group never committed.
    """
    thread = cast(_Consumer, app.consumer)._thread
    consumer = thread._ensure_consumer()

    async def read() -> list[int | None]:
        return list(await asyncio.gather(*(consumer.committed(TopicPartition(topic, p)) for p in partitions)))

    # aiokafka belongs to the consumer thread's event loop: calling it from ours would mix two loops.
    offsets: list[int | None] = await thread.call_thread(read)
    return dict(zip(partitions, offsets, strict=True))
