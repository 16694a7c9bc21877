"""Newness of items: which were published within the last hours."""

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.rows import UNKNOWN_S

_HOUR_MS = 3_600_000


def is_new(published_s: npt.NDArray[np.uint32], now_ms: int, within_hours: float) -> npt.NDArray[np.bool_]:
    """Tell which items are new: published within the last hours, neither later nor at an unknown time.

    Args:
        published_s: Publication times as the catalogue stores them.
            Shape: (n,).
        now_ms: UTC epoch milliseconds.
        within_hours: Hours after publication during which an item counts as new.

    Returns:
        True where the item is new.
            Shape: (n,).
    """
    oldest_s = (now_ms - round(within_hours * _HOUR_MS)) // 1_000
    new: npt.NDArray[np.bool_] = (
        (published_s != UNKNOWN_S) & (published_s >= oldest_s) & (published_s <= now_ms // 1_000)
    )
    return new
