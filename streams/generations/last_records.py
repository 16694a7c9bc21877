"""Which records of a compacted topic's partition are the last of their keys, in 17 bytes a record."""

from array import array

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.sid import item_key


class LastRecords:
    """Collects a partition from its start; keys are kept as hashes, 64 bits wide as in the catalogue."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._offsets = array("q")
        self._hold = bytearray()

    def note(self, item_id: str, offset: int, *, removes: bool) -> None:
        """Take note of a record that can be read.

        Args:
            item_id: Its key.
            offset: Its offset; larger than all before.
            removes: Whether it removes the item.
        """
        self._keys.append(item_key(item_id))
        self._offsets.append(offset)
        self._hold.append(not removes)

    def offsets(self) -> npt.NDArray[np.int64]:
        """Return the offsets of the items that are there, each its last record's, ascending. Shape: (n,)."""
        keys = np.frombuffer(self._keys, dtype=np.uint64)
        offsets = np.frombuffer(self._offsets, dtype=np.int64)
        # The first of each key from behind is its last record.
        _, last = np.unique(keys[::-1], return_index=True)
        places = np.sort(keys.size - 1 - last)
        there = np.frombuffer(self._hold, dtype=np.bool_)[places]
        found: npt.NDArray[np.int64] = offsets[places[there]]
        return found
