"""Reading of a user's whole history: blocks, then the recent ring, each listen once."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from sidestream.models.history.blocks import STRAY, Block, decode_block
from sidestream.models.history.layout import (
    MAX_SHARE,
    SIGNALS,
    UNKNOWN,
    VERSION_AT,
    VERSION_BYTES,
    State,
    decode,
    entry_at,
    entry_bytes,
    entry_struct,
)


class HistoryEvent(NamedTuple):
    """One listen of a history.

    Attributes:
        item_key: Key of the item.
        at: Time of the listen, UTC epoch ms.
        share: Listened share in [0, 1]; None if unknown.
        signal: One of `SIGNALS`.
        tokenizer_version: Version of the SID, 12 hexadecimal digits; None if no SID is stored.
        codes: The SID; None if none is stored.
    """

    item_key: int
    at: int
    share: float | None
    signal: str
    tokenizer_version: str | None
    codes: tuple[int, ...] | None


class _Packed(NamedTuple):
    """An encoded entry of ring or block, with what is needed to decode it."""

    entry: bytes
    num_levels: int
    versions: bytes


def history(state: bytes | None, blocks: Mapping[int, bytes]) -> list[HistoryEvent]:
    """Read all stored listens of a user.

    Blocks are read back from the newest until one is missing: remaining older ones, after a change of `history_events`,
    are not read, because they would leave a gap.

    Args:
        state: The user's state; None if there is none.
        blocks: All of the user's blocks and strays, by slot; blocks from a different moment than the state are
            harmless.

    Returns:
        Events, ascending by (at, source offset).

    Raises:
        StateError: The state or a block cannot be decoded.
    """
    if state is None:
        return []
    parts = decode(state)
    ring = _entries(parts.num_levels, parts.versions, parts.ring)
    # The oldest entries of the ring are also in blocks. Times and items are compared, not bytes: an entry of the ring
    # may have lost its SID since.
    doubles = Counter(_same(packed) for packed in ring[: parts.archived])
    older = []
    for packed in reversed(_archived(parts, blocks)):
        if doubles[_same(packed)]:
            doubles[_same(packed)] -= 1
        else:
            older.append(packed)
    return [_event(packed) for packed in (*reversed(older), *ring)]


def _archived(state: State, blocks: Mapping[int, bytes]) -> list[_Packed]:
    """Return the entries of blocks and strays, ascending by (at, source offset)."""
    whole: dict[int, Block] = {}
    strays: list[Block] = []
    for slot, value in blocks.items():
        block = decode_block(value)
        if slot >= STRAY:
            strays.append(block)
        else:
            whole[block.blocks_before] = block
    first = state.num_blocks
    while first - 1 in whole:
        first -= 1
    # A stray arrived after the blocks around it, so it follows entries of equal `at`.
    read = [whole[number] for number in range(first, state.num_blocks)]
    read += sorted(
        (b for b in strays if first < b.blocks_before <= state.num_blocks and b.strays_before < state.num_strays),
        key=lambda block: block.strays_before,
    )
    entries = [packed for b in read for packed in _entries(b.num_levels, b.versions, b.entries)]
    return sorted(entries, key=lambda packed: entry_at(packed.entry, 0))


def _entries(num_levels: int, versions: bytes, packed: bytes) -> list[_Packed]:
    step = entry_bytes(num_levels)
    return [_Packed(packed[at : at + step], num_levels, versions) for at in range(0, len(packed), step)]


def _same(packed: _Packed) -> bytes:
    return packed.entry[:VERSION_AT]


def _event(packed: _Packed) -> HistoryEvent:
    key, at_low, at_high, share, signal, version, *codes = entry_struct(packed.num_levels).unpack(packed.entry)
    has_sid = version != UNKNOWN
    return HistoryEvent(
        item_key=key,
        at=at_high << 32 | at_low,
        share=None if share == UNKNOWN else share / MAX_SHARE,
        signal=SIGNALS[signal] if signal < len(SIGNALS) else f"signal {signal}",
        tokenizer_version=packed.versions[version * VERSION_BYTES :][:VERSION_BYTES].hex() if has_sid else None,
        codes=tuple(codes) if has_sid else None,
    )
