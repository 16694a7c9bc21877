"""Interface of rankers in an evaluation, and selection of the top items by score."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.search import top_rows

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


class Ranker(Protocol):
    """Anything that orders items for a history of item indices."""

    def rank(
        self, history: Int32Array, num_items: int, exclude_seen: bool, is_liked: BoolArray | None = None
    ) -> Int32Array:
        """List the best items for a listener.

        Args:
            history: Items listened to, oldest first. Shape: (num_listens,).
            num_items: Maximum length of the list.
            exclude_seen: Whether to exclude the items of the history.
            is_liked: Which of them have a positive signal; None means all. Shape: (num_listens,).

        Returns:
            Distinct items, best first. A ranker lists only items that it has evidence for, so the list may be short.

            Shape: (at most num_items,).
        """
        ...


def top_items(scores: Float32Array, num_items: int) -> Int32Array:
    """List the items with the highest positive scores, ties by index.

    Args:
        scores: One score for each item. Shape: (catalogue size,).
        num_items: Maximum length of the list.

    Returns:
        Items, best first.

        Shape: (at most num_items,).
    """
    items = np.flatnonzero(scores > 0.0).astype(np.int32)
    return top_rows(items, scores[items], -items, num_items)
