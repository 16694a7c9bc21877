"""Places reserved for new items, which the model's ranking alone would not show.

They go to items that were published within the last hours and have no listen in training: the model's scores of such
items are consistent with each other but far below those of known items, so they compete for separate places. Rank
inside them: recency-weighted content similarity, sum over the listens with a positive signal of 1/k * cosine(entry,
item), k = 1 for the latest. Without such a listen the newest come first.
"""

import numpy as np
import numpy.typing as npt

from sidestream.models.history.view import HistoryView
from sidestream.models.recommend.settings import RecommendSettings
from sidestream.tokenizer.catalogue import CatalogueSnapshot
from sidestream.tokenizer.catalogue.newness import is_new

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]

# weight = sqrt(listens in training + 1): a weight of one means that the model never saw the item.
_UNSEEN_WEIGHT = 1.0 + 1e-6


def places(num_candidates: int, settings: RecommendSettings) -> int:
    """Return the number of reserved places of a candidate set: the setting, but at most a fifth."""
    return min(settings.reserved_new, num_candidates // 5)


def new_items(
    snapshot: CatalogueSnapshot, history: HistoryView, allowed: BoolArray, now_ms: int, settings: RecommendSettings
) -> tuple[Int32Array, Float32Array]:
    """Rank the new items for one listener.

    Args:
        snapshot: Pinned catalogue.
        history: The listener's recent history under this snapshot.
        allowed: Rows that may be listed.
            Shape: (R,).
        now_ms: UTC epoch milliseconds.
        settings: Age limit of new items, and number of competing items.

    Returns:
        Rows, best first, and their similarities in [-1, 1] (0 without a listen with a positive signal).
            Shape: (n,) and (n,).
    """
    newest = snapshot.newest_rows
    fresh = is_new(snapshot.published_s[newest], now_ms, settings.new_within_hours)
    fresh &= allowed[newest] & (snapshot.item_weight[newest] <= _UNSEEN_WEIGHT)
    rows: Int32Array = newest[fresh][: settings.max_new_ranked]
    liked = history.rows[(history.rows >= 0) & history.is_liked]
    if rows.size == 0 or liked.size == 0:
        return rows, np.zeros(rows.size, dtype=np.float32)
    recency = 1.0 / np.arange(liked.size, 0, -1, dtype=np.float32)
    taste = (recency / recency.sum()) @ _unit_vectors(snapshot, liked)
    similarity: Float32Array = (_unit_vectors(snapshot, rows) @ taste).astype(np.float32)
    order = np.argsort(-similarity, kind="stable")
    return rows[order], similarity[order]


def _unit_vectors(snapshot: CatalogueSnapshot, rows: Int32Array) -> Float32Array:
    """Return unit item vectors; the scale of a row cancels out, a zero vector stays zero.

    Shape: (n, d).
    """
    vectors = snapshot.item_vectors[rows].astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    unit: Float32Array = vectors / np.maximum(norms, 1e-12)[:, None]
    return unit
