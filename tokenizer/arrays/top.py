"""The best of many by value, ties broken by a second value: which rows of equal value are listed never is by chance."""

from typing import Any

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]


def top_rows(members: Int32Array, values: npt.NDArray[Any], tie_breaks: npt.NDArray[Any], count: int) -> Int32Array:
    """List rows by value, then by tie break, both descending.

    Args:
        members: Rows to choose from.
            Shape: (m,).
        values: By member.
            Shape: (m,).
        tie_breaks: By member, all different.
            Shape: (m,).
        count: How many at most, not below 0.

    Returns:
        Rows, best first.
        Shape: (min(m, count),).
    """
    if not count:
        return members[:0]
    if members.size > count:
        # A partition first: sorting a million values for the best thousand would cost more than the trie.
        near = values >= np.partition(values, members.size - count)[members.size - count]
        members, values, tie_breaks = members[near], values[near], tie_breaks[near]
    return members[np.lexsort((tie_breaks, values))[::-1][:count]]
