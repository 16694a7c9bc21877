"""What becomes of errors that aiokafka's group client keeps for a caller that Faust is not: tried again, or the end.

aiokafka stores an error of joining, syncing or a heartbeat (`GroupCoordinator._push_error_to_user`) and does nothing
more until `check_errors` hands it to a caller of the consumer. Faust never calls that: the worker would stay without a
group for ever. An answer that a broker under restart may give is therefore taken here, and the group is joined again;
everything else ends the worker.

With static membership (`worker.group_instance_id`), a second worker with the same id takes the place of the first,
which learns that from its next heartbeat, or, during a rebalance, from the answer to its request to join or sync. After
the former aiokafka would join again and throw out the second one, and so on; after the latter it would ask for ever, in
a rebalance that never ends. The first one ends instead.

Source: KIP-345 (static membership); aiokafka 0.14, `consumer/group_coordinator.py`.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaError, NoError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from sidestream.streams.errors import LaneError, SidestreamError
from sidestream.streams.group.shared_guarantee import rejection

# Error code of the group API (FENCED_INSTANCE_ID) that aiokafka has no class for.
_FENCED_INSTANCE_ID = 82


class InstanceReplacedError(KafkaError):  # type: ignore[misc]
    """Another member with our `group.instance.id` has taken our place."""

    retriable = False


class GroupClient:
    """Watches a group client; made on its event loop, once it is started.

    Args:
        coordinator: The group client.
        group_id: Its group.
        instance_id: Its `group.instance.id`; None for a dynamic member.
        session_s: After so long without a heartbeat, a member is removed.
        seconds: Monotonic clock.
    """

    def __init__(
        self,
        coordinator: GroupCoordinator,
        group_id: str,
        instance_id: str | None,
        session_s: float,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._coordinator, self._group_id, self._instance_id = coordinator, group_id, instance_id
        self._session_s, self._seconds = session_s, seconds
        self._known_s = seconds()
        self._is_replaced = False
        self._send = coordinator._send_req
        if instance_id is not None:
            coordinator._send_req = self._send_watched

    def failure(self, assignor: str) -> SidestreamError | None:
        """Return why the worker cannot stay in its group; None if it can. May be called from any thread.

        Args:
            assignor: Name of the worker's assignment protocol.

        Returns:
            The error that ends the worker.
        """
        coordinator = self._coordinator
        if self._is_replaced:
            return LaneError(self._replaced())
        if coordinator._coordination_task.done() and not coordinator._closing.done():
            msg = f"group {self._group_id}: its client has ended; restart the worker"
            return LaneError(msg)
        error = coordinator._pending_exception
        if error is None or self._may_pass(error):
            return None
        rejected = rejection(self._group_id, assignor, error)
        if rejected is not None:
            return rejected
        msg = f"group {self._group_id}: joining failed ({error!r}); check our rights on the group, and the settings"
        return LaneError(msg)

    @property
    def is_member(self) -> bool:
        """Whether the group counts this worker as a member, as far as is known."""
        return bool(self._coordinator.member_id != JoinGroupRequest.UNKNOWN_MEMBER_ID)

    @property
    def passing_error(self) -> BaseException | None:
        """The stored error if it may pass; `join_again` is due then."""
        error: BaseException | None = self._coordinator._pending_exception
        return error if error is not None and self._may_pass(error) else None

    def request_rebalance(self) -> None:
        """Let the group rebalance; called on the client's event loop."""
        self._coordinator.request_rejoin()

    def join_again(self) -> None:
        """Take the stored error and join again; called on the client's event loop."""
        # First: a heartbeat that ended with this error is only started again by joining.
        self._coordinator.request_rejoin()
        with contextlib.suppress(KafkaError):
            self._coordinator.check_errors()

    @staticmethod
    def _may_pass(error: BaseException) -> bool:
        # aiokafka reports answers that it does not expect as plain `KafkaError`.
        return isinstance(error, KafkaError) and (bool(error.retriable) or type(error) is KafkaError)

    async def _send_watched(self, request: Any) -> Any:
        if self._is_replaced:
            raise InstanceReplacedError(self._replaced())
        response = await self._send(request)
        if isinstance(request, HeartbeatRequest | JoinGroupRequest | SyncGroupRequest):
            code, now_s = response.error_code, self._seconds()
            if code in (NoError.errno, RebalanceInProgressError.errno):
                self._known_s = now_s
            # Nobody else removes a static member whose session has not ended.
            was_removed = isinstance(request, HeartbeatRequest) and code == UnknownMemberIdError.errno
            if code == _FENCED_INSTANCE_ID or (was_removed and now_s - self._known_s < self._session_s):
                self._is_replaced = True
                raise InstanceReplacedError(self._replaced())
        return response

    def _replaced(self) -> str:
        return (
            f"group {self._group_id}: expected no other worker with worker.group_instance_id {self._instance_id!r}, "
            "got one, which has taken this worker's place; give each worker an id of its own"
        )
