"""Erasure requests of one partition: decoding of the records, and the resulting changes of states. No I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidestream.models.history import block_key, erase_all, forget
from sidestream.models.records import UserErasure
from sidestream.streams.contracts.deadletters import DeadLetter, dead_letter
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.errors import BadRecord

Decode = Callable[[bytes | None, bytes | None, int], UserErasure | None]

# Header of the tombstone with which a sweep ends a request: its user's watermarks are removed in the same step.
SWEPT_HEADER = "x-swept"
# Header of a request that is not in its user's partition on purpose: a state was found there, because a producer uses
# another partitioner. It is applied like any other, by the owner of that partition.
STRAY_HEADER = "x-stray"


@dataclass(slots=True)
class Requests:
    """Requests of one partition.

    Attributes:
        topic: Source topic.
        next_offset: Offset after the last request.
        by_user: By key, in offset order: time up to which everything is erased; None ends the erasures of the user.
        dead_letters: Dead letters of malformed records.
        bad_reasons: Their reason codes, in the same order.
        num_records: Number of records read, all kinds.
    """

    topic: str
    next_offset: int
    by_user: dict[bytes, list[int | None]] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    bad_reasons: list[str] = field(default_factory=list)
    num_records: int = 0


def read_requests(topic: str, records: Iterable[Any], decode: Decode, placement: Placement | None = None) -> Requests:
    """Decode the records of one partition.

    Args:
        topic: Their topic.
        records: Consumer records in offset order.
        decode: Decodes a record's key, value and timestamp, or raises `BadRecord`.
        placement: Recognises records of other partitions; None takes all.

    Returns:
        The requests.
    """
    requests = Requests(topic, 0)
    for record in records:
        requests.next_offset = record.offset + 1
        requests.num_records += 1
        marks = {name for name, _ in record.headers}
        if record.value is None and SWEPT_HEADER in marks:
            continue
        try:
            erasure = decode(record.key, record.value, record.timestamp)
            if placement is not None and STRAY_HEADER not in marks:
                placement.check(record)
        except BadRecord as exc:
            requests.bad_reasons.append(exc.reason)
            requests.dead_letters.append(dead_letter(record, exc))
            continue
        requests.by_user.setdefault(record.key, []).append(None if erasure is None else erasure.at)
    return requests


def erasure_changes(
    user: bytes, state: bytes | None, blocks: Mapping[int, bytes], ats: Sequence[int | None]
) -> dict[bytes, bytes | None]:
    """Return the changes that requests make to one user.

    Args:
        user: The user's key.
        state: The user's state; None if there is none.
        blocks: All of the user's blocks, by slot.
        ats: Times as in `Requests.by_user`.

    Returns:
        New values by key of changelog and table, None for a tombstone; empty if nothing changes. The state comes last:
        if only a part is published, the request still finds the blocks again.

    Raises:
        StateError: The state is invalid.
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
