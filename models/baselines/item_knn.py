"""Item-kNN baseline: items that other listeners heard close to the listener's latest ones.

Similarity of two items = sum over training sequences of 1 / distance, times (count_i * count_j) ** -0.25; the score
of an item = sum over the history of its similarity to the k-th latest listen, divided by k. With these weights it
outperformed published generative recommenders on Amazon Beauty, so it is a strong baseline that needs no training.

Source: item-based collaborative filtering of Sarwar et al. 2001 (WWW10), section 3, with weights by distance in the
sequence and by recency in the history.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from sidestream.models.baselines.ranking import top_items

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class ItemKnnSettings(BaseModel):
    """Weights of the item-kNN baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_distance: int = Field(default=50, ge=1, description="Pairs further apart in a sequence are not counted.")
    popularity_power: float = Field(default=0.25, ge=0, le=1, description="Similarity / (count_i * count_j) ** power.")
    backward_weight: float = Field(
        default=1.0, ge=0, le=1, description="Weight of `j before i` relative to `j after i`; 1 = order is ignored."
    )
    max_history: int = Field(default=50, ge=1, description="Number of latest listens of the history that are read.")


class ItemKnn:
    """Ranks by similarity to the latest listens; all neighbours are kept.

    Args:
        sequences: Training sequences of item indices, oldest first; only listens with a positive signal.
        catalogue_size: Number of items.
        settings: Weights.
    """

    def __init__(
        self, sequences: Sequence[Int32Array], catalogue_size: int, settings: ItemKnnSettings | None = None
    ) -> None:
        self._settings = settings if settings is not None else ItemKnnSettings()
        self._size = catalogue_size
        first, second, weights = _close_pairs(sequences, catalogue_size, self._settings)
        items = np.concatenate([*sequences, np.empty(0, np.int32)]).astype(np.int64)
        counts = np.maximum(np.bincount(items, minlength=catalogue_size), 1).astype(np.float64)
        damping = counts**-self._settings.popularity_power
        self._offsets = np.concatenate([[0], np.cumsum(np.bincount(first, minlength=catalogue_size))])
        self._neighbours = second
        self._similarity = weights * damping[first] * damping[second]

    def rank(
        self, history: Int32Array, num_items: int, exclude_seen: bool, is_liked: BoolArray | None = None
    ) -> Int32Array:
        """List the items closest to the latest listens.

        Args:
            history: Items listened to, oldest first. Shape: (num_listens,).
            num_items: Maximum length of the list.
            exclude_seen: Whether to exclude the items of the history.
            is_liked: Which of them have a positive signal; the others have no neighbours. Shape: (num_listens,).

        Returns:
            Items, best first; items without similarity are not listed.

            Shape: (at most num_items,).
        """
        scores = np.zeros(self._size)
        liked = history if is_liked is None else history[is_liked]
        latest = liked[-self._settings.max_history :][::-1]
        for place, item in enumerate(latest.tolist(), start=1):
            found = slice(self._offsets[item], self._offsets[item + 1])
            # A row contains each neighbour once, so plain indexing adds correctly.
            scores[self._neighbours[found]] += self._similarity[found] / place
        if exclude_seen:
            scores[history] = 0.0
        return top_items(scores.astype(np.float32), num_items)


def _close_pairs(
    sequences: Sequence[Int32Array], size: int, settings: ItemKnnSettings
) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Sum 1 / distance over all pairs of listens of one sequence, sorted by the two items."""
    if not sequences:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    items = np.concatenate(sequences).astype(np.int64)
    owner = np.repeat(np.arange(len(sequences)), [len(sequence) for sequence in sequences])
    keys, weights = [], []
    for distance in range(1, min(settings.max_distance, items.size - 1) + 1):
        together = owner[:-distance] == owner[distance:]
        if not together.any():
            break
        earlier, later = items[:-distance][together], items[distance:][together]
        keys += [earlier * size + later, later * size + earlier]
        forward = np.full(earlier.size, 1.0 / distance)
        weights += [forward, forward * settings.backward_weight]
    if not keys:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
    summed = np.bincount(place, np.concatenate(weights), minlength=pairs.size).astype(np.float64)
    return pairs // size, pairs % size, summed
