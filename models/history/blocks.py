"""Blocks of a user's long history: byte layout and keys of the values that archive entries leaving the recent ring.

A block has 16 entries of the ring. A stray has a single entry: a late listen that belongs among entries that are in a
block already. Both are written once and never read by the fold. A user has `num_slots` slots for blocks, reused in
turn, and as many for strays as the history may have events: overwriting the oldest needs no tombstone.

Key in table and changelog, which no user id can equal since UTF-8 has no byte 0xff:

    0xff, user id in UTF-8, 0xff, slot (u32, big-endian); slots of strays begin at 2^31

so all slots of a user are adjacent. Value, integers little-endian, L = num_levels, v = tokenizer versions:

```
offset  size   field
0       1      layout version, 1
1       1      num_levels L of its entries
2       1      entries n: 16, of a stray 1; fewer than 16 if an erasure removed some
3       1      tokenizer versions v
4       4      blocks of the user written before it (u32): its number, if it is a block
8       4      strays of the user written before it (u32): its number, if it is a stray
12      6 v    tokenizer versions, as in the state when it was written
+       E n    entries as in the ring, oldest first; see `layout`
```

With three levels and one tokenizer version a block takes 386 bytes, a stray 41.
"""

from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

from sidestream.models.errors import StateError
from sidestream.models.history.layout import VERSION_BYTES, State, entry_bytes

BLOCK_LAYOUT_VERSION: Final = 1
BLOCK_EVENTS: Final = 16
STRAY: Final = 2**31
"""Slots from here on are strays."""
KEY_MARK: Final = b"\xff"
"""First byte of every key that is not a user id."""

_HEADER: Final = Struct("<4B2I")
_SLOT_BYTES: Final = 4


class Block(NamedTuple):
    """A decoded block or stray.

    Attributes:
        num_levels: L.
        blocks_before: Blocks of the user written before it.
        strays_before: Strays of the user written before it.
        versions: Tokenizer versions, 6 bytes each.
        entries: As in the ring, oldest first.
    """

    num_levels: int
    blocks_before: int
    strays_before: int
    versions: bytes
    entries: bytes


def num_slots(history_events: int) -> int:
    """Return the number of block slots of a user, at least 2.

    Args:
        history_events: Number of events that the blocks must hold; one more block is added, because the newest block
            still overlaps the ring.

    Returns:
        The number of slots.
    """
    return -(-history_events // BLOCK_EVENTS) + 1


def block_prefix(user: bytes) -> bytes:
    """Return the prefix of the keys of all blocks of a user (id in UTF-8), which no other key has."""
    return KEY_MARK + user + KEY_MARK


def block_key(user: bytes, slot: int) -> bytes:
    """Return the key of a user's slot in table and changelog.

    Args:
        user: User id in UTF-8.
        slot: Below `STRAY` for a block, else a stray.

    Returns:
        The key.
    """
    return block_prefix(user) + slot.to_bytes(_SLOT_BYTES, "big")


def split_block_key(key: bytes) -> tuple[bytes, int] | None:
    """Split the key of a slot.

    Args:
        key: Any key of table or changelog.

    Returns:
        User id in UTF-8 and slot; None for any other key.
    """
    user, mark = key[1 : -_SLOT_BYTES - 1], key[-_SLOT_BYTES - 1 : -_SLOT_BYTES]
    # An empty user id is invalid: keys that start with two marks belong to the table itself.
    if key[:1] != KEY_MARK or mark != KEY_MARK or not user or KEY_MARK in user:
        return None
    return user, slot_of(key)


def slot_of(key: bytes) -> int:
    """Return the slot of a key that starts with a user's `block_prefix`."""
    return int.from_bytes(key[-_SLOT_BYTES:], "big")


def block_of(state: State, entries: bytes) -> bytes:
    """Encode the next block or stray of a user.

    Args:
        state: Source of levels, versions and sequence numbers.
        entries: Entries with the state's number of levels.

    Returns:
        The value.
    """
    return encode_block(Block(state.num_levels, state.num_blocks, state.num_strays, state.versions, entries))


def encode_block(block: Block) -> bytes:
    """Encode a block, the inverse of `decode_block`."""
    head = _HEADER.pack(
        BLOCK_LAYOUT_VERSION,
        block.num_levels,
        len(block.entries) // entry_bytes(block.num_levels),
        len(block.versions) // VERSION_BYTES,
        block.blocks_before,
        block.strays_before,
    )
    return b"".join((head, block.versions, block.entries))


def decode_block(value: bytes) -> Block:
    """Decode a block or stray.

    Args:
        value: Bytes of a block or stray.

    Returns:
        The decoded block.

    Raises:
        StateError: The layout version is unknown, or the bytes do not fit it.
    """
    try:
        version, levels, count, versions, blocks, strays = _HEADER.unpack_from(value)
    except StructError as error:
        msg = _damaged(value, f"at least {_HEADER.size} bytes")
        raise StateError(msg) from error
    if version != BLOCK_LAYOUT_VERSION:
        msg = (
            f"block of a user: expected layout version {BLOCK_LAYOUT_VERSION}, got {version}; "
            "run the release that wrote it, or rebuild the state from the log"
        )
        raise StateError(msg)
    entries_at = _HEADER.size + versions * VERSION_BYTES
    size = entries_at + count * entry_bytes(levels)
    if len(value) != size:
        msg = _damaged(value, f"{size} bytes")
        raise StateError(msg)
    return Block(levels, blocks, strays, value[_HEADER.size : entries_at], value[entries_at:])


def _damaged(value: bytes, expected: str) -> str:
    return (
        f"block of a user: expected {expected}, got {len(value)} bytes starting {value[:12].hex()}; "
        "rebuild the state from the log"
    )
