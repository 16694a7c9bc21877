"""The semantic ID as a value: its type, its printed form, and the 64-bit key of an item.

A `Sid` is a tuple with one code for each level, first level first. Inside the program it is never a string; people
and JSON keys see `13-65-188`. The item key is what fixed-size layouts hold instead of the item's id.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Sid = tuple[int, ...]

# u16 is the code's width in a user's state, so no level may hold more codes than that.
MAX_CODEBOOK_SIZE = 65_536
MAX_LEVELS = 16

_SEPARATOR = "-"


def format_sid(sid: Iterable[int]) -> str:
    """Print a SID the way people read it.

    Args:
        sid: The codes, first level first; a row of a code array will do.

    Returns:
        The codes joined by dashes, for example `13-65-188`.
    """
    return _SEPARATOR.join([str(int(code)) for code in sid])


def item_key(item_id: str) -> int:
    """Hash an item's id to the 64-bit key that layouts and snapshots hold.

    Args:
        item_id: The item's id. Lone surrogates, which UTF-8 cannot hold, are hashed by their raw encoding.

    Returns:
        An unsigned 64-bit integer: BLAKE2b with a digest of 8 bytes, read little-endian. By the birthday bound, two of
        10 million ids share a key with a probability of about 3 in a million.
    """
    digest = hashlib.blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


# Popular items repeat: a hit costs a tenth of the hash. Some 16 MB when full.
remembered_item_key = lru_cache(maxsize=131_072)(item_key)


def item_keys(item_ids: Iterable[str]) -> "npt.NDArray[np.uint64]":
    """Hash many items' ids, in order.

    Args:
        item_ids: The items' ids.

    Returns:
        One key for each id.

        Shape: (num_items,).
    """
    import numpy as np  # settings read this module for its limits, without numpy

    return np.fromiter((item_key(item_id) for item_id in item_ids), dtype=np.uint64)
