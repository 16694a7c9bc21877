"""The last record of each key in a partition of a compacted topic, in 17 bytes per record."""

from array import array

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.sid import item_key


class LastRecords:
    """Collects the records of a partition from its start; keys are stored as the 64-bit hashes of the catalogue."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._offsets = array("q")
        self._is_upsert = bytearray()

    def add(self, item_id: str, offset: int, *, removes: bool) -> None:
        """Add a readable record.

        Args:
            item_id: Its key.
            offset: Its offset, larger than all before.
            removes: Whether it is a tombstone.
        """
        self._keys.append(item_key(item_id))
        self._offsets.append(offset)
        self._is_upsert.append(not removes)

    def offsets(self) -> npt.NDArray[np.int64]:
        """Return the offset of the last record of each item that was not removed, ascending. Shape: (n,)."""
        keys = np.frombuffer(self._keys, dtype=np.uint64)
        offsets = np.frombuffer(self._offsets, dtype=np.int64)
        # In reverse order, the first record of each key is its last one.
        _, last = np.unique(keys[::-1], return_index=True)
        rows = np.sort(keys.size - 1 - last)
        is_upsert = np.frombuffer(self._is_upsert, dtype=np.bool_)[rows]
        found: npt.NDArray[np.int64] = offsets[rows[is_upsert]]
        return found
