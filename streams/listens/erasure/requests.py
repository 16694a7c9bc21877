"""Erasure requests of one partition: records in, times by user and dead letters out, and what they change. No I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidestream.models.history import block_key, erase_all, forget
from sidestream.models.records import UserErasure
from sidestream.streams.contracts.deadletters import DeadLetter, dead_letter
from sidestream.streams.errors import BadRecord

Decode = Callable[[bytes | None, bytes | None, int], UserErasure | None]

# On the null with which a sweep ends a request: its user is forgotten already, in the same step.
SWEPT_HEADER = "x-swept"


@dataclass(slots=True)
class Requests:
    """Requests of one partition.

    Attributes:
        topic: Where they came from.
        next_offset: First offset of the partition that is not among them.
        by_user: By key, in offset order: the time up to which all goes; none ends the erasures of the user.
        dead_letters: For those that cannot be read.
        bad_reasons: Why, in the same order.
    """

    topic: str
    next_offset: int
    by_user: dict[bytes, list[int | None]] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    bad_reasons: list[str] = field(default_factory=list)


def read_requests(topic: str, records: Iterable[Any], decode: Decode) -> Requests:
    """Decode records.

    Args:
        topic: Where they came from.
        records: Consumer records of one partition, in offset order.
        decode: Reads a record's key, value and timestamp, or raises `BadRecord`.

    Returns:
        What they ask for.
    """
    requests = Requests(topic, 0)
    for record in records:
        requests.next_offset = record.offset + 1
        if record.value is None and any(name == SWEPT_HEADER for name, _ in record.headers):
            continue
        try:
            erasure = decode(record.key, record.value, record.timestamp)
        except BadRecord as exc:
            requests.bad_reasons.append(exc.reason)
            requests.dead_letters.append(dead_letter(record, exc))
            continue
        requests.by_user.setdefault(record.key, []).append(None if erasure is None else erasure.at)
    return requests


def erasure_changes(
    user: bytes, state: bytes | None, blocks: Mapping[int, bytes], ats: Sequence[int | None]
) -> dict[bytes, bytes | None]:
    """Say what requests change of one user.

    Args:
        user: The user's key.
        state: The user's state; None where there is none.
        blocks: All of the user's blocks, by slot.
        ats: As in `Requests.by_user`.

    Returns:
        New values by key of changelog and table, none for a tombstone; empty where nothing changes. The state comes
        last: where they are published in part, the request then finds the blocks again.

    Raises:
        StateError: The state cannot be read.
    """
    new, left, changes = state, dict(blocks), dict[bytes, bytes | None]()
    for at in ats:
        if at is None:
            new = forget(new)
            continue
        new, of_blocks = erase_all(new, left, at)
        for slot, block in of_blocks.items():
            changes[block_key(user, slot)] = block
            if block is None:
                del left[slot]
            else:
                left[slot] = block
    return changes if new is state else {**changes, user: new}
