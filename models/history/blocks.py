"""Owns the bytes of a user's blocks: what the recent ring lets go of, in values of their own beside the state.

A block is 16 entries of the ring, or one, a stray: a listen that came late, among entries that are in a block already.
Both are written once and never read by the fold. A user has `num_slots` places for blocks, used in turn, and as many
for strays as the history is to have events: writing over the oldest needs no tombstone.

Key in table and changelog, which no user id can equal since UTF-8 has no byte 0xff:

    0xff, user id in UTF-8, 0xff, slot (u32, big-endian); slots of strays begin at 2^31

so all slots of a user follow one another. Value, integers little-endian, L = num_levels, v = tokenizer versions:

```
offset  size   field
0       1      layout version, 1
1       1      num_levels L of its entries
2       1      entries n: 16, of a stray 1; fewer than 16 where an erasure took some
3       1      tokenizer versions v
4       4      blocks of the user written before it (u32): its number, if it is a block
8       4      strays of the user written before it (u32): its number, if it is a stray
12      6 v    tokenizer versions, as in the state when it was written
+       E n    entries as in the ring, oldest first; see `layout`
```

Three levels and one tokenizer version make 386 bytes, 41 of a stray.
"""

from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

from sidestream.models.errors import StateError
from sidestream.models.history.layout import VERSION_BYTES, State, entry_bytes

BLOCK_LAYOUT_VERSION: Final = 1
BLOCK_EVENTS: Final = 16
STRAY: Final = 2**31
"""Slots from here on hold strays."""
KEY_MARK: Final = b"\xff"
"""First byte of every key that is no user id."""

_HEADER: Final = Struct("<4B2I")
_SLOT_BYTES: Final = 4


class Block(NamedTuple):
    """A block or stray taken apart.

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
    """Return how many blocks a user has places for.

    Args:
        history_events: How many events they must hold; one block more, for the newest is partly in the ring still.

    Returns:
        At least 2.
    """
    return -(-history_events // BLOCK_EVENTS) + 1


def block_prefix(user: bytes) -> bytes:
    """Return what the keys of all blocks of a user begin with, and no other key.

    Args:
        user: User id in UTF-8.

    Returns:
        The key without its slot.
    """
    return KEY_MARK + user + KEY_MARK


def block_key(user: bytes, slot: int) -> bytes:
    """Name a slot of a user in table and changelog.

    Args:
        user: User id in UTF-8.
        slot: Below `STRAY` of a block, else of a stray.

    Returns:
        The key.
    """
    return block_prefix(user) + slot.to_bytes(_SLOT_BYTES, "big")


def split_block_key(key: bytes) -> tuple[bytes, int] | None:
    """Take the key of a slot apart.

    Args:
        key: Any key of table or changelog.

    Returns:
        User id in UTF-8 and slot; none for a key of something else.
    """
    user, mark = key[1 : -_SLOT_BYTES - 1], key[-_SLOT_BYTES - 1 : -_SLOT_BYTES]
    # An empty user id is none: keys that begin with two marks belong to the table itself.
    if key[:1] != KEY_MARK or mark != KEY_MARK or not user or KEY_MARK in user:
        return None
    return user, slot_of(key)


def slot_of(key: bytes) -> int:
    """Return the slot in a key that begins with a user's `block_prefix`."""
    return int.from_bytes(key[-_SLOT_BYTES:], "big")


def block_of(state: State, entries: bytes) -> bytes:
    """Put together the next block or stray of a user.

    Args:
        state: Tells levels, versions and numbers.
        entries: Of the state's number of levels.

    Returns:
        Its value.
    """
    return encode_block(Block(state.num_levels, state.num_blocks, state.num_strays, state.versions, entries))


def encode_block(block: Block) -> bytes:
    """Put a value together.

    Args:
        block: Its parts.

    Returns:
        Bytes that `decode_block` takes apart again.
    """
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
    """Take a value apart.

    Args:
        value: Bytes of a block or stray.

    Returns:
        Its parts.

    Raises:
        StateError: Another layout version, or bytes that do not fit this one.
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
