"""Committed offsets while a group's coordinator moves: the library takes an error of the whole request for no offsets.

From version 2 on, the response to an offset fetch has an error code of its own (NOT_COORDINATOR, or
COORDINATOR_LOAD_IN_PROGRESS) and then no partitions. aiokafka 0.14 reads the partitions alone, and reports that the
group has never committed: whoever asks starts anew.

Source: KIP-88.
"""

from functools import wraps
from typing import Any

from aiokafka import errors
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.commit import OffsetFetchRequest

_send = GroupCoordinator._send_req
# The group has another coordinator now.
_MOVED = (errors.NotCoordinatorForGroupError, errors.GroupCoordinatorNotAvailableError)


def install() -> None:
    """Make all consumers of this process ask again; to be called before one is started, any number of times."""
    GroupCoordinator._send_req = _send_and_check


@wraps(_send)
async def _send_and_check(coordinator: Any, request: Any) -> Any:
    response = await _send(coordinator, request)
    if isinstance(request, OffsetFetchRequest) and (code := getattr(response, "error_code", 0)):
        error = errors.for_code(code)
        if error in _MOVED:
            coordinator.coordinator_dead()
        raise error(coordinator.group_id)  # the caller asks again if it may pass
    return response
