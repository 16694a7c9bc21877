"""Reading of a user's state: as arrays for the model (`view`) and as JSON for display (`describe`).

`view_of_items` makes the same arrays from item ids.

Shape legend: T = history entries, oldest first; L = levels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.models.history.layout import (
    EVENT_ID_BYTES,
    MAX_SHARE,
    NO_ERASURE,
    NO_WATERMARK,
    SIGNALS,
    UNKNOWN,
    VERSION_BYTES,
    State,
    decode,
    empty_state,
)
from sidestream.models.history.long_history import HistoryEvent, history
from sidestream.models.history.ring import find_version, version_bytes
from sidestream.models.records.signals import positive_mask
from sidestream.tokenizer.catalogue import CatalogueSnapshot
from sidestream.tokenizer.generations import Alignment
from sidestream.tokenizer.sid import format_sid, item_keys

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]

# By signal number; those of a newer release are neutral.
_IS_POSITIVE = np.zeros(256, dtype=np.bool_)
_IS_POSITIVE[: len(SIGNALS)] = positive_mask(SIGNALS)


@dataclass(frozen=True, eq=False, slots=True)
class HistoryView:
    """A listener's recent history under one snapshot.

    Attributes:
        rows: Row of the item in the snapshot, -1 if the item is no longer in the catalogue. Shape: (T,).
        codes: SID under the model's tokenizer version. Shape: (T, L).
        item_keys: Shape: (T,).
        at: UTC epoch ms, ascending. Shape: (T,).
        share: Listened share in [0, 1], NaN if unknown. Shape: (T,).
        signal: Index into `SIGNALS`. Shape: (T,).
        watermark: Highest source offset folded, -1 for none.
        dropped: Number of entries dropped because no SID under that version is known.
        aligned: Number of entries whose SID was translated from an older version.
    """

    rows: Int32Array
    codes: Int32Array
    item_keys: npt.NDArray[np.uint64]
    at: npt.NDArray[np.int64]
    share: npt.NDArray[np.float32]
    signal: npt.NDArray[np.uint8]
    watermark: int
    dropped: int
    aligned: int = 0

    @property
    def is_liked(self) -> BoolArray:
        """Which listens have a positive signal, and so represent the listener's taste. Shape: (T,)."""
        liked: BoolArray = _IS_POSITIVE[self.signal]
        return liked


def view(
    state: bytes | None, snapshot: CatalogueSnapshot, tokenizer_version: str, alignments: Sequence[Alignment] = ()
) -> HistoryView:
    """Read a state as the model's arrays.

    The SID of an entry is the snapshot's; else the stored one if it is of the same tokenizer version; else the stored
    one of an older version, translated by the alignment map from exactly that version; else the entry is dropped and
    counted. Maps are not chained: an item in the catalogue needs none, however old its listen is, and an item that is
    no longer there needs a map from the version that its listen was stored under.

    Args:
        state: The user's state; None if there is none.
        snapshot: Pinned catalogue.
        tokenizer_version: Version that the model was trained on. A snapshot of another version is not used.
        alignments: Maps from older versions' SIDs to this one's, the first of each counts; maps between other versions
            are not used.

    Returns:
        The arrays, oldest entry first.

    Raises:
        StateError: The state cannot be decoded.
    """
    parts = empty_state() if state is None else decode(state)
    entries = np.frombuffer(parts.ring, dtype=_entry_dtype(parts.num_levels))
    keys = entries["key"].astype(np.uint64)
    rows = np.full(keys.size, -1, dtype=np.int32)
    codes = np.full((keys.size, snapshot.num_levels), -1, dtype=np.int32)
    if snapshot.tokenizer_version == tokenizer_version:
        rows = snapshot.row_of_key(keys)
        codes[rows >= 0] = snapshot.codes_of_rows(rows[rows >= 0])
    fallback = (rows < 0) & _stored_under(entries["version"], parts, tokenizer_version)
    if parts.num_levels == snapshot.num_levels and fallback.any():
        stored = entries["codes"].astype(np.int32)
        # A code outside the codebook would make the graph read out of bounds.
        fallback &= (stored < np.array(snapshot.codebook_sizes)).all(axis=1)
        codes[fallback] = stored[fallback]
    aligned = 0
    for alignment in alignments:
        if alignment.new_version == tokenizer_version:
            old = (codes[:, 0] < 0) & _stored_under(entries["version"], parts, alignment.old_version)
            aligned += _translate(codes, entries["codes"], old, alignment, snapshot)
    known = codes[:, 0] >= 0
    entries = entries[known]
    share = entries["share"].astype(np.float32) / np.float32(MAX_SHARE)
    share[entries["share"] == UNKNOWN] = np.nan
    return HistoryView(
        rows=rows[known],
        codes=codes[known],
        item_keys=keys[known],
        at=_at(entries),
        share=share,
        signal=entries["signal"].copy(),
        watermark=parts.watermark,
        dropped=int(keys.size - entries.size),
        aligned=aligned,
    )


def view_of_items(item_ids: Sequence[str], snapshot: CatalogueSnapshot) -> HistoryView:
    """Make a history of plain listens, of any length and without a stored state.

    Args:
        item_ids: Items, oldest first.
        snapshot: Pinned catalogue.

    Returns:
        The arrays, with times counted from 0; items that the catalogue never had are dropped.
    """
    keys = item_keys(item_ids)
    rows = snapshot.row_of_key(keys)
    known = rows >= 0
    count = int(known.sum())
    return HistoryView(
        rows=rows[known],
        codes=snapshot.codes_of_rows(rows[known]),
        item_keys=keys[known],
        at=np.arange(count, dtype=np.int64),
        share=np.full(count, np.nan, dtype=np.float32),
        signal=np.full(count, SIGNALS.index("listen"), dtype=np.uint8),
        watermark=count - 1 if count else NO_WATERMARK,
        dropped=int(keys.size) - count,
    )


def describe(
    state: bytes | None,
    item_id_of: Callable[[int], str | None] | None = None,
    blocks: Mapping[int, bytes] | None = None,
) -> dict[str, Any]:
    """Describe a state for display.

    Args:
        state: The user's state; None if there is none.
        item_id_of: Maps an item key to its id if known; otherwise the key is printed.
        blocks: All of the user's blocks, by slot, for the whole history; None for the recent ring only.

    Returns:
        JSON-ready values; the latest entry first.

    Raises:
        StateError: The state or a block cannot be decoded.
    """
    parts = empty_state() if state is None else decode(state)
    return {
        "layout_version": None if state is None else state[0],
        "size_bytes": 0 if state is None else len(state),
        "watermarks": {"listens": None if parts.watermark == NO_WATERMARK else parts.watermark},
        "erased_at": None if parts.erased_at == NO_ERASURE else parts.erased_at,
        "listens_folded": parts.folded,
        "listens_too_late": parts.late,
        "blocks_written": parts.num_blocks,
        "tokenizer_versions": _hex_pieces(parts.versions, VERSION_BYTES),
        "recent_event_ids": _hex_pieces(parts.event_ids, EVENT_ID_BYTES),
        "history": [_words(event, item_id_of) for event in reversed(history(state, blocks or {}))],
    }


def _words(event: HistoryEvent, item_id_of: Callable[[int], str | None] | None) -> dict[str, Any]:
    return {
        "item_id": None if item_id_of is None else item_id_of(event.item_key),
        "item_key": f"{event.item_key:016x}",
        "at": event.at,
        "share": None if event.share is None else round(event.share, 3),
        "signal": event.signal,
        "sid": None if event.codes is None else format_sid(event.codes),
        "tokenizer_version": event.tokenizer_version,
    }


@cache
def _entry_dtype(num_levels: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("key", "<u8"),
            ("at_low", "<u4"),
            ("at_high", "<u2"),
            ("share", "u1"),
            ("signal", "u1"),
            ("version", "u1"),
            ("codes", "<u2", (num_levels,)),
        ]
    )


def _at(entries: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """Return the times of entries. Shape: (T,)."""
    high: npt.NDArray[np.int64] = entries["at_high"].astype(np.int64) << 32
    return high | entries["at_low"].astype(np.int64)


def _stored_under(places: npt.NDArray[np.uint8], parts: State, tokenizer_version: str) -> BoolArray:
    """Return which entries store a SID of a tokenizer version. Shape: (T,)."""
    place = find_version(parts.versions, version_bytes(tokenizer_version))
    # Index 255 never occurs, so "no such version" matches no entry that stores a SID.
    stored: BoolArray = (places == place) & (places != UNKNOWN)
    return stored


def _translate(
    codes: Int32Array,
    stored: npt.NDArray[np.uint16],
    rows: BoolArray,
    alignment: Alignment,
    snapshot: CatalogueSnapshot,
) -> int:
    """Translate stored SIDs by an alignment, in place; return the number of translated entries."""
    # A map for other codebooks would make the graph read out of bounds.
    fits = alignment.new_sizes == tuple(snapshot.codebook_sizes) and len(alignment.old_sizes) == stored.shape[1]
    if not fits or not rows.any():
        return 0
    codes[rows] = alignment.translate(stored[rows].astype(np.int32))
    return int((codes[rows, 0] >= 0).sum())


def _hex_pieces(packed: bytes, size: int) -> list[str]:
    return [packed[start : start + size].hex() for start in range(0, len(packed), size)]
