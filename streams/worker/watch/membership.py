"""Tracks whether this worker is a member of its consumer group with a current assignment."""

from typing import Any, cast

import faust

from sidestream.streams.group.assignor import LaneAssignor
from sidestream.streams.runtime.progress import IDLE, Work


class GroupMembership:
    """Tracks Faust's rebalance signals."""

    def __init__(self, app: faust.App) -> None:
        self._state = "not joined"
        self._changes = 0
        self._app = app
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_partitions_revoked.connect(self._on_revoked)

    def not_ready(self) -> list[str]:
        """Return a reason while there is no assignment, or while partitions that are this worker's are coming."""
        if self._state != "joined":
            return [f"kafka: {self._state}"]
        coming = cast(LaneAssignor, self._app.assignor).coming
        return [f"{topic}: {len(some)} partitions come once their states are here" for topic, some in coming.items()]

    def work(self) -> Work:
        """Return one unit of work while an assignment is awaited, from the start of Faust's consumer on."""
        consumer = self._app._consumer
        if self._state == "joined" or consumer is None or not consumer.started:
            return IDLE
        return Work(1, self._changes)

    async def _on_assigned(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self._state = "joined"
        self._changes += 1

    async def _on_revoked(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self._state = "rebalancing"
        self._changes += 1
