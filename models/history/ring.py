"""The recent ring: insertion and eviction of entries, which are archived in a block before they are evicted.

When a full ring would evict an entry that is in no block, its 16 oldest such entries are written as one, in advance. So
nothing is ever pending, a user costs one additional record per 16 listens, and the blocks do not depend on the batching
of the listens. A late listen that is inserted among entries that are already in blocks is written at once, as a stray.

With blocks disabled, a ring that never had blocks writes none. For a ring that had, blocks are counted without being
written: the missing numbers end its history, so that enabling blocks again leaves no gap in it.
"""

from sidestream.models.history.blocks import BLOCK_EVENTS, STRAY, block_of, num_slots
from sidestream.models.history.layout import MAX_RING, State, entry_at, entry_bytes


def settle(state: State) -> None:
    """Append the fresh entries to the ring, in place, and evict the oldest beyond its size."""
    if state.fresh:
        _take(state, b"".join((state.ring, *state.fresh)))
        state.fresh.clear()


def insert(state: State, entry: bytes) -> None:
    """Insert an out-of-order entry into a settled ring, in place, after all entries that are not newer."""
    ring, step, at = state.ring, len(entry), entry_at(entry, 0)
    # Binary search: a listen may belong anywhere, and reading an entry costs a twentieth of a fold.
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
    """Replace the ring by entries, without the oldest beyond its size."""
    num_leaving = len(entries) // entry_bytes(state.num_levels) - MAX_RING
    if num_leaving > 0:
        if state.history_events or state.num_blocks:
            _archive(state, entries, num_leaving)
        entries = entries[num_leaving * entry_bytes(state.num_levels) :]
    state.ring = entries


def _archive(state: State, entries: bytes, num_leaving: int) -> None:
    """Write blocks until all entries that are about to be evicted are in one."""
    step = entry_bytes(state.num_levels)
    while state.archived < num_leaving:
        if state.history_events:
            first = state.archived * step
            slot = state.num_blocks % num_slots(state.history_events)
            state.written[slot] = block_of(state, entries[first : first + BLOCK_EVENTS * step])
        state.num_blocks += 1
        state.archived += BLOCK_EVENTS
    state.archived -= num_leaving
