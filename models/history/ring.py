"""Owns how entries come into the recent ring and leave it: nothing leaves before it is in a block of the user.

When a full ring would let go of an entry that is in no block, its 16 oldest such entries become one, in advance. So
nothing is ever pending, a user costs one more record in 16 listens, and the blocks are the same however the listens
are batched. A late listen that goes in among entries that are in blocks already is written at once, alone: a stray.

With blocks off, a ring that never had one keeps none. For one that had, blocks are counted without being written: the
numbers that miss end its history, so that turning them on again makes no hole in it.
"""

from sidestream.models.history.blocks import BLOCK_EVENTS, STRAY, block_of, num_slots
from sidestream.models.history.layout import MAX_RING, State, entry_at, entry_bytes


def settle(state: State) -> None:
    """Join the fresh entries to the ring and let go of the oldest beyond its size.

    Args:
        state: Changed in place.
    """
    if state.fresh:
        _take(state, b"".join((state.ring, *state.fresh)))
        state.fresh.clear()


def insert(state: State, entry: bytes) -> None:
    """Put an entry that came out of order into a settled ring, after all that are not newer.

    Args:
        state: Changed in place.
        entry: Of the state's number of levels.
    """
    ring, step, at = state.ring, len(entry), entry_at(entry, 0)
    # By halves: a listen may come in anywhere, and a look at an entry costs a twentieth of a fold.
    place, end = 0, len(ring) // step
    while place < end:
        middle = (place + end) // 2
        if entry_at(ring, middle * step) > at:
            end = middle
        else:
            place = middle + 1
    place *= step
    if place < state.archived * step:
        if state.history_events:
            state.written[STRAY + state.num_strays % state.history_events] = block_of(state, entry)
        state.num_strays += 1
        state.archived += 1
    _take(state, ring[:place] + entry + ring[place:])


def _take(state: State, entries: bytes) -> None:
    """Make entries the ring, without the oldest beyond its size."""
    num_leaving = len(entries) // entry_bytes(state.num_levels) - MAX_RING
    if num_leaving > 0:
        if state.history_events or state.num_blocks:
            _archive(state, entries, num_leaving)
        entries = entries[num_leaving * entry_bytes(state.num_levels) :]
    state.ring = entries


def _archive(state: State, entries: bytes, num_leaving: int) -> None:
    """Write blocks until all entries that are about to leave are in one."""
    step = entry_bytes(state.num_levels)
    while state.archived < num_leaving:
        if state.history_events:
            first = state.archived * step
            slot = state.num_blocks % num_slots(state.history_events)
            state.written[slot] = block_of(state, entries[first : first + BLOCK_EVENTS * step])
        state.num_blocks += 1
        state.archived += BLOCK_EVENTS
    state.archived -= num_leaving
