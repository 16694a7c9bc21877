"""Popularity baseline: every listener gets the items with the most listens."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sidestream.models.baselines.ranking import top_items

Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


class Popularity:
    """Ranks by the number of training listens.

    Args:
        sequences: Training sequences of item indices; only listens with a positive signal.
        catalogue_size: Number of items.
    """

    def __init__(self, sequences: Sequence[Int32Array], catalogue_size: int) -> None:
        items = np.concatenate([*sequences, np.empty(0, np.int32)])
        self._counts = np.bincount(items.astype(np.int64), minlength=catalogue_size).astype(np.float32)

    def rank(
        self, history: Int32Array, num_items: int, exclude_seen: bool, is_liked: BoolArray | None = None
    ) -> Int32Array:
        """List the most listened items.

        Args:
            history: Used only to exclude its items. Shape: (num_listens,).
            num_items: Maximum length of the list.
            exclude_seen: Whether to exclude the items of the history, regardless of their signal.
            is_liked: Not used: popularity is the same for all listeners. Shape: (num_listens,).

        Returns:
            Items, best first; items without listens are not listed.

            Shape: (at most num_items,).
        """
        del is_liked
        if not exclude_seen:
            return top_items(self._counts, num_items)
        scores = self._counts.copy()
        scores[history] = 0.0
        return top_items(scores, num_items)
