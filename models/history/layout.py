"""Owns the bytes of a user's state, versions 1 and 2.

All integers little-endian. L = num_levels, n = ring entries, e = event ids, v = tokenizer versions, s = sections.

```
offset  size   field
0       1      layout version: 2 where there is a section of erasures, else 1
1       1      num_levels L of the stored SIDs; 0 until a first SID is stored
2       1      ring entries n, at most 50
3       1      event ids e, at most 32
4       1      tokenizer versions v, at most 4
5       1      sections s: 1, or 2 in version 2
6       4      listens folded: all but repeats (u32, stays at its maximum)
10      4      of these, dropped as older than the tail of a full ring (u32, stays at its maximum)
14      2      bytes of the long-term vector, at the very end; 0 in this version
16      9      section of listens: u8 1, i64 watermark = highest source offset applied, -1 for none
25      9      version 2: section of erasures: u8 2, i64 highest `at` of the erasures applied
+       6 v    tokenizer versions
+       6 e    ids of the last events, oldest first: BLAKE2b of the event id, digest of 6 bytes
+       E n    ring, ascending by (at, source offset), E = 17 + 2 L
```

A ring entry:

```
0       8      item key (u64)
8       6      at, UTC epoch ms (u48)
14      1      listened share in 254ths; 255 = not known
15      1      signal: place in SIGNALS
16      1      place in the table of tokenizer versions; 255 = SID not known, the codes are then 0
17      2 L    codes (u16)
```

A full ring of 50 at three levels with four versions takes 16 + 9 + 24 + 192 + 1,150 = 1,391 bytes, 1,400 in version 2.
Version 2 is written for users with an erasure alone: all others read on in releases that know version 1, and a state
changes its version when it is next folded. Erasures are ordered by `at`, the highest wins, so they need no offset; what
an erased user leaves are the two watermarks, 34 bytes. The source offset
of an entry is not stored: records arrive in offset order, so an entry inserted after all of equal `at` keeps the order.
A tokenizer version is its 12 hexadecimal digits, or the 6-byte BLAKE2b of any other text.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from struct import Struct
from struct import error as StructError
from typing import Final

from models.errors import StateError

LAYOUT_VERSION: Final = 2
"""The newest that is read."""
MAX_RING: Final = 50
MAX_EVENT_IDS: Final = 32
MAX_VERSIONS: Final = 4
EVENT_ID_BYTES: Final = 6
VERSION_BYTES: Final = 6
UNKNOWN: Final = 255
MAX_SHARE: Final = 254
MAX_AT_MS: Final = 2**48 - 1
MAX_COUNT: Final = 2**32 - 1
NO_WATERMARK: Final = -1
# Before all times, so that the fold needs one comparison.
NO_ERASURE: Final = -(2**63)

SIGNALS: Final = ("listen", "like", "save", "follow", "share", "skip", "dislike")
"""Signals by number; only ever appended to."""

HEADER: Final = Struct("<6B2IHBq")
ERASURES: Final = Struct("<Bq")
_LISTENS_SECTION: Final = 1
_ERASURES_SECTION: Final = 2
_AT_END: Final = 14
VERSION_AT: Final = 16


@dataclass(slots=True)
class State:
    """A state taken apart for folding; `decode` and `encode` are inverse to each other.

    Attributes:
        num_levels: L.
        folded: Listens folded, repeats not counted.
        late: Of these, dropped as older than the tail of a full ring.
        watermark: Highest source offset applied, -1 for none.
        versions: Tokenizer versions, oldest first, 6 bytes each.
        event_ids: Ids of the last events, oldest first, 6 bytes each.
        ring: Entries.
        fresh: Entries to come after those of the ring, not yet joined to it: a join per record would copy 1 KB.
        erased_at: Highest `at` of the erasures applied, `NO_ERASURE` for none.
    """

    num_levels: int
    folded: int
    late: int
    watermark: int
    versions: bytes
    event_ids: bytes
    ring: bytes
    fresh: list[bytes]
    erased_at: int = NO_ERASURE


def empty_state() -> State:
    """Return the state of a user of whom nothing is known."""
    return State(0, 0, 0, NO_WATERMARK, b"", b"", b"", [])


def decode(value: bytes) -> State:
    """Take a value apart.

    Args:
        value: Bytes of a user's state.

    Returns:
        Its parts.

    Raises:
        StateError: Another layout version, or bytes that do not fit this one.
    """
    try:
        version, levels, entries, ids, versions, sections, folded, late, vector, topic, watermark = HEADER.unpack_from(
            value
        )
    except StructError as error:
        msg = _damaged(value, f"at least {HEADER.size} bytes")
        raise StateError(msg) from error
    if not 1 <= version <= LAYOUT_VERSION:
        msg = (
            f"user state: expected a layout version up to {LAYOUT_VERSION}, got {version}; "
            "run the release that wrote it, or rebuild the state from the log"
        )
        raise StateError(msg)
    versions_at, erased_section, erased_at = HEADER.size, _ERASURES_SECTION, NO_ERASURE
    if version == LAYOUT_VERSION and len(value) >= HEADER.size + ERASURES.size:
        erased_section, erased_at = ERASURES.unpack_from(value, HEADER.size)
        versions_at += ERASURES.size
    ids_at = versions_at + versions * VERSION_BYTES
    ring_at = ids_at + ids * EVENT_ID_BYTES
    size = ring_at + entries * entry_bytes(levels)
    if (sections, topic, erased_section, vector) != (version, _LISTENS_SECTION, _ERASURES_SECTION, 0) or len(
        value
    ) != size:
        msg = _damaged(value, f"{version} sections, no long-term vector and {size} bytes")
        raise StateError(msg)
    return State(
        levels,
        folded,
        late,
        watermark,
        value[versions_at:ids_at],
        value[ids_at:ring_at],
        value[ring_at:],
        [],
        erased_at,
    )


def encode(state: State) -> bytes:
    """Put a value together.

    Args:
        state: Its parts.

    Returns:
        Bytes that `decode` takes apart again.
    """
    settle(state)
    # Version and number of sections go together: listens alone, or listens and erasures.
    version = 1 if state.erased_at == NO_ERASURE else 2
    header = HEADER.pack(
        version,
        state.num_levels,
        len(state.ring) // entry_bytes(state.num_levels),
        len(state.event_ids) // EVENT_ID_BYTES,
        len(state.versions) // VERSION_BYTES,
        version,
        state.folded,
        state.late,
        0,
        _LISTENS_SECTION,
        state.watermark,
    )
    erasures = b"" if version == 1 else ERASURES.pack(_ERASURES_SECTION, state.erased_at)
    return b"".join((header, erasures, state.versions, state.event_ids, state.ring))


def settle(state: State) -> None:
    """Join the fresh entries to the ring and let go of the oldest beyond its size.

    Args:
        state: Changed in place.
    """
    if state.fresh:
        state.ring = b"".join((state.ring, *state.fresh))[-MAX_RING * entry_bytes(state.num_levels) :]
        state.fresh.clear()


def entry_bytes(num_levels: int) -> int:
    """Return the size of a ring entry."""
    return 17 + 2 * num_levels


@cache
def entry_struct(num_levels: int) -> Struct:
    """Return the layout of a ring entry: key, at (low 32 bits), at (high 16), share, signal, version, codes."""
    return Struct(f"<QIH3B{num_levels}H")


def entry_at(ring: bytes, start: int) -> int:
    """Return `at` of the entry that begins at a byte of the ring."""
    return int.from_bytes(ring[start + 8 : start + _AT_END], "little")


def event_id_bytes(event_id: str) -> bytes:
    """Hash an event id.

    Args:
        event_id: Its text.

    Returns:
        6 bytes; two of a user's last 32 events share them by chance once in some 10^13 listens.
    """
    return hashlib.blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=EVENT_ID_BYTES).digest()


def _damaged(value: bytes, expected: str) -> str:
    return (
        f"user state: expected {expected}, got {len(value)} bytes starting {value[:26].hex()}; "
        "rebuild the state from the log"
    )
