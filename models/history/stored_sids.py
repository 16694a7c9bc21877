"""Stored SIDs of a state: its table of tokenizer versions, and the number of levels of its entries."""

import hashlib
from functools import cache

from sidestream.models.history.layout import (
    MAX_VERSIONS,
    UNKNOWN,
    VERSION_AT,
    VERSION_BYTES,
    State,
    entry_bytes,
)
from sidestream.models.history.ring import settle


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
