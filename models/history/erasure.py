"""Erasure of a user: removes the data but keeps watermarks, until no old listen can be replayed.

An immediate tombstone would lose the watermarks, and a replay of the user's old listens would restore the data. So
there are two steps. `erase` removes everything that happened at or before the erasure and keeps two watermarks: the
source offset, up to which no listen is folded again, and the time of the erasure, up to which no listen is folded at
all, however late it arrives. `forget` removes these as well, once the source topic no longer contains what they guard
against (`may_forget`), or on an operator's request.

An erasure goes by `at`, not by arrival: applied before or after the listens of its user, in any batching, it leaves the
same entries, so a state rebuilt from the log equals the original. The ids of the last events have no time, so they are
all dropped. A repeat of a later event is therefore folded again if it arrives right after the erasure.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sidestream.models.errors import StateError
from sidestream.models.history.blocks import decode_block, encode_block
from sidestream.models.history.layout import (
    MAX_AT_MS,
    NO_ERASURE,
    State,
    decode,
    empty_state,
    encode,
    entry_at,
    entry_bytes,
)
from sidestream.models.history.ring import drop_unused_versions


class Erasure(NamedTuple):
    """Changes of an erasure, to be applied atomically."""

    state: bytes
    blocks: Mapping[int, bytes | None]
    """Changed blocks by slot; None deletes."""


def erase_all(state: bytes | None, blocks: Mapping[int, bytes], at: int) -> Erasure:
    """Remove everything that happened at or before a time, from state and blocks.

    Args:
        state: The user's state; None if there is none: late listens must still be refused.
        blocks: All of the user's blocks and strays, by slot.
        at: Time of the erasure, UTC epoch ms.

    Returns:
        The new state (the same object if the erasure is not newer than the last one), and the changed blocks.

    Raises:
        StateError: The state or a block cannot be decoded, or the time is outside the contract.
    """
    parts = empty_state() if state is None else decode(state)
    if state is not None and at <= parts.erased_at:
        return Erasure(state, {})
    if not 0 <= at <= MAX_AT_MS:
        msg = f"erasure: expected at in [0, {MAX_AT_MS}], got {at}; send it to the dead letters before applying it"
        raise StateError(msg)
    step, size = entry_bytes(parts.num_levels), len(parts.ring)
    parts.ring = _newer(parts.ring, step, at)
    if parts.ring and len(parts.ring) == size:
        changes = _erase_blocks(blocks, at)
    else:
        # Everything left is in the ring: entries that are only in blocks are older than those of the ring.
        parts.archived = parts.num_blocks = parts.num_strays = 0
        changes = dict.fromkeys(blocks)
    parts.event_ids, parts.erased_at = b"", at
    parts.folded, parts.late = len(parts.ring) // step, 0
    drop_unused_versions(parts)
    return Erasure(encode(parts), changes)


def erase(state: bytes | None, at: int) -> bytes:
    """Remove everything that happened at or before a time, for a user without blocks.

    Args:
        state: The user's state; None if there is none.
        at: Time of the erasure, UTC epoch ms.

    Returns:
        The new state; the same object if the erasure is not newer than the last one.

    Raises:
        StateError: The state cannot be decoded, or the time is outside the contract.
    """
    return erase_all(state, {}, at).state


def _erase_blocks(blocks: Mapping[int, bytes], at: int) -> dict[int, bytes | None]:
    changes: dict[int, bytes | None] = {}
    for slot, value in blocks.items():
        block = decode_block(value)
        left = _newer(block.entries, entry_bytes(block.num_levels), at)
        if not left:
            changes[slot] = None
        elif len(left) < len(block.entries):
            changes[slot] = encode_block(block._replace(entries=left))
    return changes


def _newer(entries: bytes, step: int, at: int) -> bytes:
    """Return the entries after a time."""
    kept_from = 0
    while kept_from < len(entries) and entry_at(entries, kept_from) <= at:
        kept_from += step
    return entries[kept_from:]


def is_erased(state: bytes | None) -> bool:
    """Return whether a state consists only of an erased user's watermarks.

    Args:
        state: The user's state; None if there is none.

    Returns:
        False also without a state, and for a user who has listened since.

    Raises:
        StateError: The state cannot be decoded.
    """
    if state is None:
        return False
    parts = decode(state)
    return parts.erased_at != NO_ERASURE and not parts.ring


def keeps_erased(state: bytes | None, blocks: Iterable[bytes], at: int) -> bool:
    """Return whether something that an erasure removes is still there.

    Args:
        state: The user's state; None if there is none.
        blocks: All of the user's blocks and strays.
        at: Time of the erasure, UTC epoch ms.

    Returns:
        True as well for a state to which the erasure was not applied, and for bytes that cannot be decoded.
    """
    try:
        if state is not None and decode(state).erased_at < at:
            return True
        for value in blocks:
            block = decode_block(value)
            if block.entries and entry_at(block.entries, 0) <= at:
                return True
    except StateError:
        return True
    return False


def may_forget(state: bytes | None, source_start_offset: int, source_start_at: int) -> bool:
    """Return whether the watermarks of an erasure are no longer needed.

    Args:
        state: The user's state; None if there is none.
        source_start_offset: First offset that the partition of listens still contains.
        source_start_at: Kafka timestamp of that record, UTC epoch ms; the current time if the partition is empty.

    Returns:
        True if every listen that was folded or refused for this user is gone from the source, and everything in it was
        published after the erasure.

    Raises:
        StateError: The state cannot be decoded.
    """
    if state is None:
        return False
    parts = decode(state)
    return NO_ERASURE < parts.erased_at < source_start_at and parts.watermark < source_start_offset


def forget(state: bytes | None) -> bytes | None:
    """Remove the watermarks of an erasure.

    Args:
        state: The user's state; None if there is none.

    Returns:
        None (a tombstone) for an erased user; the state without its erasure for a user who has listened since; the same
        object if there was no erasure.

    Raises:
        StateError: The state cannot be decoded.
    """
    if state is None or is_erased(state):
        return None
    parts = decode(state)
    if parts.erased_at == NO_ERASURE:
        return state
    parts.erased_at = NO_ERASURE
    return encode(parts)


def is_idle(state: bytes, before_at: int, before_offset: int) -> bool:
    """Return whether a user has listens, and none since a time.

    Both clocks must agree: a listen may arrive long after its own time, as in an import, and producers may set Kafka
    timestamps.

    Args:
        state: The user's state.
        before_at: The time, UTC epoch ms, by the listens themselves.
        before_offset: First source offset whose Kafka timestamp is not before that time.

    Returns:
        False also for an erased user, of whom only watermarks are left.

    Raises:
        StateError: The state cannot be decoded.
    """
    parts = decode(state)
    return bool(parts.ring) and _newest_at(parts) < before_at and parts.watermark < before_offset


def expire(state: bytes) -> bytes | None:
    """Remove all listens of an idle user, whose blocks must be deleted with them.

    Args:
        state: The user's state, with at least one listen.

    Returns:
        None (a tombstone); for a user who was erased before the listens the watermarks alone, until `may_forget`.

    Raises:
        StateError: The state cannot be decoded.
    """
    parts = decode(state)
    return None if parts.erased_at == NO_ERASURE else erase(state, _newest_at(parts))


def _newest_at(parts: State) -> int:
    return entry_at(parts.ring, len(parts.ring) - entry_bytes(parts.num_levels))
