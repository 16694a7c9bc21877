"""Search and selection in arrays: positions of values in a sorted array, and the top rows by value."""

from typing import Any

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]


def find(values: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Find the positions of values in a sorted array; unlike `np.isin` it sorts nothing and returns positions.

    Args:
        values: Ascending values to search in.
            Shape: (n,).
        wanted: Values to find, in any order, repeats allowed.
            Shape: (q,).

    Returns:
        The first position of each value, -1 where it is missing.
        Shape: (q,).
    """
    if not values.size:
        return np.full(wanted.size, -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(values, wanted), values.size - 1)
    return np.where(values[places] == wanted, places, -1)


def top_rows(members: Int32Array, values: npt.NDArray[Any], tie_breaks: npt.NDArray[Any], count: int) -> Int32Array:
    """Select the top rows by value, then by tie break, both descending, so that equal values have a fixed order.

    Args:
        members: Rows to choose from.
            Shape: (m,).
        values: Value of each member.
            Shape: (m,).
        tie_breaks: Tie break of each member, all different.
            Shape: (m,).
        count: Maximum number of rows, not negative.

    Returns:
        Rows, best first.
        Shape: (min(m, count),).
    """
    if not count:
        return members[:0]
    if members.size > count:
        # Partition first: sorting a million values for the best thousand would cost more than building the trie.
        candidates = values >= np.partition(values, members.size - count)[members.size - count]
        members, values, tie_breaks = members[candidates], values[candidates], tie_breaks[candidates]
    return members[np.lexsort((tie_breaks, values))[::-1][:count]]
