"""Owns how a user is forgotten: an erasure takes the data and leaves watermarks, which go once nothing can come back.

Why not a tombstone at once: it loses the watermarks, and a replay of the user's old listens would bring the data back.
So in two steps. `erase` removes everything that happened at or before the erasure and keeps two watermarks: the source
offset, below which no listen is folded again, and the erasure's own time, below which none is folded at all, however
late it comes. `forget` removes those as well; it is right when the source topic no longer holds what they guard
against (`may_forget`), or when an operator says so.

An erasure goes by `at`, not by arrival: applied before or after the listens of its user, in any batching, it leaves the
same entries, so a state rebuilt from the log is the state that was. What cannot be told apart is given up: the ids of
the last events, which keep no time. A repeat of a later event is therefore folded again if it comes right after.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sidestream.models.errors import StateError
from sidestream.models.history.blocks import decode_block, encode_block
from sidestream.models.history.layout import MAX_AT_MS, NO_ERASURE, decode, empty_state, encode, entry_at, entry_bytes
from sidestream.models.history.stored_sids import drop_unused_versions


class Erasure(NamedTuple):
    """What an erasure changes: state and blocks are one change."""

    state: bytes
    blocks: Mapping[int, bytes | None]
    """By slot, those that change; none deletes."""


def erase_all(state: bytes | None, blocks: Mapping[int, bytes], at: int) -> Erasure:
    """Remove all that happened at or before a time, from state and blocks.

    Args:
        state: The user's state; None where there is none: listens that come late must be refused all the same.
        blocks: All of the user's blocks and strays, by slot.
        at: The erasure's time, UTC epoch ms.

    Returns:
        The new state, the very same object where the erasure is not newer than the last one, and the blocks' changes.

    Raises:
        StateError: State or a block cannot be read, or the time is outside the contract.
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
        # The ring holds all that is left: what is in blocks alone is older than what it held.
        parts.archived = parts.num_blocks = parts.num_strays = 0
        changes = dict.fromkeys(blocks)
    parts.event_ids, parts.erased_at = b"", at
    parts.folded, parts.late = len(parts.ring) // step, 0
    drop_unused_versions(parts)
    return Erasure(encode(parts), changes)


def erase(state: bytes | None, at: int) -> bytes:
    """Remove all that happened at or before a time, for a user who has no blocks.

    Args:
        state: The user's state; None where there is none.
        at: The erasure's time, UTC epoch ms.

    Returns:
        The new state; the very same object where the erasure is not newer than the last one.

    Raises:
        StateError: The state cannot be read, or the time is outside the contract.
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
    """Tell whether a state holds nothing but an erased user's watermarks.

    Args:
        state: The user's state; None where there is none.

    Returns:
        False for no state and for a user who listened again.

    Raises:
        StateError: The state cannot be read.
    """
    if state is None:
        return False
    parts = decode(state)
    return parts.erased_at != NO_ERASURE and not parts.ring


def may_forget(state: bytes | None, source_start_offset: int, source_start_at: int) -> bool:
    """Tell whether the watermarks of an erasure guard against nothing any more.

    Args:
        state: The user's state; None where there is none.
        source_start_offset: First offset that the partition of listens still holds.
        source_start_at: Kafka timestamp of that record, UTC epoch ms; the present where the partition is empty.

    Returns:
        True where every listen that was folded or refused for this user is gone from the source, and all that it holds
        was published after the erasure.

    Raises:
        StateError: The state cannot be read.
    """
    if state is None:
        return False
    parts = decode(state)
    return NO_ERASURE < parts.erased_at < source_start_at and parts.watermark < source_start_offset


def forget(state: bytes | None) -> bytes | None:
    """Remove what an erasure left.

    Args:
        state: The user's state; None where there is none.

    Returns:
        None, a tombstone, for an erased user; for one who listened since, the state without its erasure; the very same
        object where there was no erasure.

    Raises:
        StateError: The state cannot be read.
    """
    if state is None or is_erased(state):
        return None
    parts = decode(state)
    if parts.erased_at == NO_ERASURE:
        return state
    parts.erased_at = NO_ERASURE
    return encode(parts)
