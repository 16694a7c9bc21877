"""Byte layout of a user's state: version 2 is written, version 1 is also read.

All integers little-endian. L = num_levels, n = ring entries, e = event ids, v = tokenizer versions.

```
offset  size   field
0       1      layout version, 2
1       1      num_levels L of the stored SIDs; 0 until a first SID is stored
2       1      ring entries n, at most 50
3       1      event ids e, at most 32
4       1      low 4 bits: tokenizer versions v, at most 4; +16: section of erasures, +32: section of the archive
5       4      listens folded: all but repeats (u32, saturating)
9       4      of these, dropped as older than the tail of a full ring (u32, saturating)
13      8      watermark = highest source offset of a listen applied, -1 for none (i64)
+       6      section of erasures: highest `at` of the erasures applied (u48)
+       7      section of the archive: number of oldest ring entries that are already in a block (u8), blocks
               written so far (u24), strays written so far (u24); see `blocks`
+       6 v    tokenizer versions
+       6 e    ids of the last events, oldest first: BLAKE2b of the event id, digest of 6 bytes
+       E n    ring, ascending by (at, source offset), E = 17 + 2 L
```

A ring entry:

```
0       8      item key (u64)
8       6      at, UTC epoch ms (u48)
14      1      listened share in 254ths; 255 = unknown
15      1      signal: index into SIGNALS
16      1      index into the table of tokenizer versions; 255 = SID unknown, the codes are then 0
17      2 L    codes (u16)
```

A full ring of 50 at three levels with four versions takes 21 + 7 + 24 + 192 + 1,150 = 1,394 bytes, 1,400 after an
erasure; an erased user leaves two watermarks, 27 bytes. Erasures are ordered by `at`, the highest wins, so they need no
offset. The source offset of an entry is not stored: records arrive in offset order, so an entry inserted after all of
equal `at` keeps the order. A tokenizer version is stored as its 12 hexadecimal digits (6 bytes), or the 6-byte BLAKE2b
of any other text.

Version 1 differed before its tokenizer versions: after byte 4 came sections (u8, 1), folded, late, bytes of a vector
(u16, 0), a tag (u8, 1) and the watermark. A state is converted to version 2 when it is next folded; releases that only
know version 1 then refuse it.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from struct import Struct
from struct import error as StructError
from typing import Final

from sidestream.models.errors import StateError
from sidestream.models.state_limits import MAX_EVENT_IDS as MAX_EVENT_IDS

LAYOUT_VERSION: Final = 2
"""The newest version that can be decoded."""
MAX_RING: Final = 50
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
"""Signals by number; append-only."""

_HEADER: Final = Struct("<5B2Iq")
_HEADER_V1: Final = Struct("<6B2IHBq")
# Sections, vector and tag of version 1.
_FIXED_V1: Final = (1, 0, 1)
_ERASURES: Final = 16
_ARCHIVE: Final = 32
_VERSIONS_MASK: Final = 15
_FLAGS: Final = _ARCHIVE | _ERASURES | _VERSIONS_MASK
_ERASURES_BYTES: Final = 6
_ARCHIVE_BYTES: Final = 7
_U24: Final = 2**24 - 1
_AT_END: Final = 14
VERSION_AT: Final = 16


@dataclass(slots=True)
class State:
    """A decoded state for folding; `decode` and `encode` are inverse to each other.

    Attributes:
        num_levels: L.
        folded: Listens folded, repeats not counted.
        late: Of these, dropped as older than the tail of a full ring.
        watermark: Highest source offset applied, -1 for none.
        versions: Tokenizer versions, oldest first, 6 bytes each.
        event_ids: Ids of the last events, oldest first, 6 bytes each.
        ring: Encoded entries.
        fresh: Entries to append to the ring, not joined yet: a join per record would copy 1 KB.
        erased_at: Highest `at` of the erasures applied, `NO_ERASURE` for none.
        archived: Number of oldest ring entries that are already in a block.
        num_blocks: Blocks of the user written so far; 0 while there is no archive.
        num_strays: Strays of the user written so far.
        history_events: Number of events that the blocks must hold, 0 for no blocks; a setting, not part of the value.
        written: Blocks and strays written since `decode`, by slot; separate values.
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
    archived: int = 0
    num_blocks: int = 0
    num_strays: int = 0
    history_events: int = 0
    written: dict[int, bytes] = field(default_factory=dict)


def empty_state() -> State:
    """Return the state of an unknown user."""
    return State(0, 0, 0, NO_WATERMARK, b"", b"", b"", [])


def decode(value: bytes) -> State:
    """Decode a user's state.

    Args:
        value: Bytes of a user's state.

    Returns:
        The decoded state.

    Raises:
        StateError: The layout version is unknown, or the bytes do not fit it.
    """
    try:
        version, levels, entries, ids, flags, folded, late, watermark = _HEADER.unpack_from(value)
        start = _HEADER.size
        if version == 1:
            levels, entries, ids, flags, folded, late, watermark = _header_v1(value)
            start = _HEADER_V1.size
    except StructError as error:
        msg = _damaged(value, f"at least {_HEADER.size} bytes")
        raise StateError(msg) from error
    if not 1 <= version <= LAYOUT_VERSION:
        msg = (
            f"user state: expected a layout version up to {LAYOUT_VERSION}, got {version}; "
            "run the release that wrote it, or rebuild the state from the log"
        )
        raise StateError(msg)
    erased_at, archive, versions_at = NO_ERASURE, 0, start
    if flags & _ERASURES:
        erased_at = int.from_bytes(value[versions_at : versions_at + _ERASURES_BYTES], "little")
        versions_at += _ERASURES_BYTES
    if flags & _ARCHIVE:
        archive = int.from_bytes(value[versions_at : versions_at + _ARCHIVE_BYTES], "little")
        versions_at += _ARCHIVE_BYTES
    ids_at = versions_at + (flags & _VERSIONS_MASK) * VERSION_BYTES
    ring_at = ids_at + ids * EVENT_ID_BYTES
    size = ring_at + entries * entry_bytes(levels)
    if len(value) != size or flags > _FLAGS or archive & 0xFF > entries:
        msg = _damaged(value, f"flags up to {_FLAGS}, at most {entries} archived entries and {size} bytes")
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
        archive & 0xFF,
        archive >> 8 & _U24,
        archive >> 32,
    )


def _header_v1(value: bytes) -> tuple[int, int, int, int, int, int, int]:
    """Return levels, entries, event ids, flags, folded, late and watermark of a version 1 state."""
    _, levels, entries, ids, versions, sections, folded, late, vector, tag, watermark = _HEADER_V1.unpack_from(value)
    if (sections, vector, tag) != _FIXED_V1 or versions > MAX_VERSIONS:
        msg = _damaged(value, f"sections, vector and tag of {_FIXED_V1} and at most {MAX_VERSIONS} versions")
        raise StateError(msg)
    return levels, entries, ids, versions, folded, late, watermark


def encode(state: State) -> bytes:
    """Encode a state, the inverse of `decode`.

    Args:
        state: A settled state.

    Returns:
        Its bytes.

    Raises:
        StateError: There are entries that were not settled; a programming error.
    """
    if state.fresh:
        msg = f"user state: expected a settled ring, got {len(state.fresh)} fresh entries; call `settle` first"
        raise StateError(msg)
    flags, sections = len(state.versions) // VERSION_BYTES, b""
    if state.erased_at != NO_ERASURE:
        flags |= _ERASURES
        sections = state.erased_at.to_bytes(_ERASURES_BYTES, "little")
    if state.num_blocks or state.archived:
        # The count wraps around after 2^24 blocks; the user then has a short history for a while.
        archive = state.archived | (state.num_blocks & _U24) << 8 | (state.num_strays & _U24) << 32
        flags |= _ARCHIVE
        sections += archive.to_bytes(_ARCHIVE_BYTES, "little")
    header = _HEADER.pack(
        LAYOUT_VERSION,
        state.num_levels,
        len(state.ring) // entry_bytes(state.num_levels),
        len(state.event_ids) // EVENT_ID_BYTES,
        flags,
        state.folded,
        state.late,
        state.watermark,
    )
    return b"".join((header, sections, state.versions, state.event_ids, state.ring))


def entry_bytes(num_levels: int) -> int:
    """Return the size of a ring entry."""
    return 17 + 2 * num_levels


@cache
def entry_struct(num_levels: int) -> Struct:
    """Return the layout of a ring entry: key, at (low 32 bits), at (high 16), share, signal, version, codes."""
    return Struct(f"<QIH3B{num_levels}H")


def entry_at(ring: bytes, start: int) -> int:
    """Return `at` of the entry that starts at a byte offset of the ring."""
    return int.from_bytes(ring[start + 8 : start + _AT_END], "little")


def event_id_bytes(event_id: str) -> bytes:
    """Hash an event id to 6 bytes; two of a user's last 32 events collide about once in 10^13 listens."""
    return hashlib.blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=EVENT_ID_BYTES).digest()


def _damaged(value: bytes, expected: str) -> str:
    return (
        f"user state: expected {expected}, got {len(value)} bytes starting {value[:26].hex()}; "
        "rebuild the state from the log"
    )
