"""The search for many values at once in an array that is in order."""

from typing import Any

import numpy as np
import numpy.typing as npt


def find(values: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Find values in ascending ones; unlike `np.isin` it sorts nothing, and tells where they are.

    Args:
        values: Where to look.
            Shape: (n,).
        wanted: Any order, repeats allowed.
            Shape: (q,).

    Returns:
        The first place of each, -1 where it is not.
        Shape: (q,).
    """
    if not values.size:
        return np.full(wanted.size, -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(values, wanted), values.size - 1)
    return np.where(values[places] == wanted, places, -1)
