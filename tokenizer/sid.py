"""Semantic ID: its type and printed form, and the 64-bit key of an item.

A `Sid` is a tuple with one code per level, first level first. It is printed as `13-65-188`, also in JSON keys, but is
never a string inside the program. Fixed-size layouts store the item key instead of the item's id.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Sid = tuple[int, ...]

# A code is a u16 in a user's state, so no level may have more codes than that.
MAX_CODEBOOK_SIZE = 65_536
MAX_LEVELS = 16

_SEPARATOR = "-"


def format_sid(sid: Iterable[int]) -> str:
    """Format a SID as its codes joined by dashes, for example `13-65-188`; also accepts a row of a code array."""
    return _SEPARATOR.join([str(int(code)) for code in sid])


def item_key(item_id: str) -> int:
    """Hash an item's id to the 64-bit key that layouts and snapshots store.

    Args:
        item_id: The item's id. Lone surrogates, which UTF-8 cannot encode, are hashed by their raw encoding.

    Returns:
        An unsigned 64-bit integer: BLAKE2b with a digest of 8 bytes, little-endian. By the birthday bound, the
        probability that two of 10 million ids share a key is about 3 in a million.
    """
    digest = hashlib.blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


# Popular items repeat: a cache hit costs a tenth of the hash. Some 16 MB when full.
remembered_item_key = lru_cache(maxsize=131_072)(item_key)


def item_keys(item_ids: Iterable[str]) -> "npt.NDArray[np.uint64]":
    """Hash many items' ids, in order.

    Args:
        item_ids: The items' ids.

    Returns:
        One key for each id.

        Shape: (num_items,).
    """
    import numpy as np  # not at the top: settings import this module for its limits, without numpy

    return np.fromiter((item_key(item_id) for item_id in item_ids), dtype=np.uint64)
