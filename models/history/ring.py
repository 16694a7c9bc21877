"""The recent ring of a decoded state, changed in place: its entries, and the tokenizer versions of the SIDs they store.

When a full ring would evict an entry that is in no block, its 16 oldest such entries are written as one, in advance. So
nothing is ever pending, a user costs one additional record per 16 listens, and the blocks do not depend on the batching
of the listens. A late listen that is inserted among entries that are already in blocks is written at once, as a stray.

With blocks disabled, a ring that never had blocks writes none. For a ring that had, blocks are counted without being
written: the missing numbers end its history, so that enabling blocks again leaves no gap in it.
"""

import hashlib
from functools import cache

from sidestream.models.history.blocks import BLOCK_EVENTS, STRAY, block_of, num_slots
from sidestream.models.history.layout import (
    MAX_RING,
    MAX_VERSIONS,
    UNKNOWN,
    VERSION_AT,
    VERSION_BYTES,
    State,
    entry_at,
    entry_bytes,
)


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


@cache
def version_bytes(tokenizer_version: str) -> bytes:
    """Return the 6 bytes that represent a tokenizer version."""
    if len(tokenizer_version) == 2 * VERSION_BYTES and set(tokenizer_version) <= set("0123456789abcdef"):
        return bytes.fromhex(tokenizer_version)
    return hashlib.blake2b(tokenizer_version.encode(), digest_size=VERSION_BYTES).digest()


def find_version(versions: bytes, version: bytes) -> int:
    """Return the index of a version (from `version_bytes`) in a state's table, -1 if it is missing."""
    start = versions.find(version)
    while start > 0 and start % VERSION_BYTES:
        start = versions.find(version, start + 1)
    return start // VERSION_BYTES


def place_of_version(state: State, tokenizer_version: str) -> int:
    """Return the index of a tokenizer version in a state's table, adding it in place if it is new."""
    version = version_bytes(tokenizer_version)
    place = find_version(state.versions, version)
    return place if place >= 0 else _add_version(state, version)


def _add_version(state: State, version: bytes) -> int:
    """Add a version to the table.

    A full table first drops versions that no entry refers to, then its oldest version, whose entries lose their SID.
    """
    settle(state)
    table = [state.versions[at : at + VERSION_BYTES] for at in range(0, len(state.versions), VERSION_BYTES)]
    if len(table) == MAX_VERSIONS:
        used = set(state.ring[VERSION_AT :: entry_bytes(state.num_levels)])
        kept = [place for place in range(MAX_VERSIONS) if place in used]
        if len(kept) == MAX_VERSIONS:
            kept.remove(0)
        state.ring = _with_versions_moved(state, {old: new for new, old in enumerate(kept)})
        table = [table[place] for place in kept]
    state.versions = b"".join((*table, version))
    return len(table)


def set_levels(state: State, num_levels: int) -> None:
    """Change the number of codes per entry, in place; SIDs of another length are dropped, with their versions."""
    settle(state)
    old = entry_bytes(state.num_levels)
    no_sid = bytes((UNKNOWN,)) + bytes(2 * num_levels)
    heads = (state.ring[start : start + VERSION_AT] for start in range(0, len(state.ring), old))
    state.ring = b"".join(head + no_sid for head in heads)
    state.num_levels = num_levels
    state.versions = b""


def drop_unused_versions(state: State) -> None:
    """Drop versions that no entry refers to, in place; with the last of them, also reset the number of levels."""
    settle(state)
    used = set(state.ring[VERSION_AT :: entry_bytes(state.num_levels)]) - {UNKNOWN}
    if not used:
        set_levels(state, 0)
        return
    kept = sorted(used)
    state.ring = _with_versions_moved(state, {old: new for new, old in enumerate(kept)})
    table = [state.versions[at : at + VERSION_BYTES] for at in range(0, len(state.versions), VERSION_BYTES)]
    state.versions = b"".join(table[place] for place in kept)


def _with_versions_moved(state: State, moved: dict[int, int]) -> bytes:
    """Return the ring with versions renumbered; entries whose version was dropped lose their SID."""
    step = entry_bytes(state.num_levels)
    ring = bytearray(state.ring)
    for start in range(0, len(ring), step):
        version = moved.get(ring[start + VERSION_AT], UNKNOWN)
        ring[start + VERSION_AT] = version
        if version == UNKNOWN:
            # Codes without a version are zero, so that equal states are equal bytes.
            ring[start + VERSION_AT + 1 : start + step] = bytes(step - VERSION_AT - 1)
    return bytes(ring)
