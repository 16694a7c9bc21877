"""Evaluation metrics: recall and NDCG of one held-out item per listener, with standard errors.

With one target, NDCG@k = 1 / log2(rank + 2) for a target at rank < k (counted from 0), else 0: the ideal list has its
target first, so no normalization is needed.

Source: Järvelin and Kekäläinen 2002 (TOIS 20:4), section 2.2; one held-out item as in Kang and McAuley 2018
(arXiv 1808.09781), section IV.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Float64Array = npt.NDArray[np.float64]

NOT_LISTED = -1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over listeners and its standard error.

    Args:
        value: Mean.
        standard_error: Standard error of the mean; differences between two models below twice this are noise.
    """

    value: float
    standard_error: float


def target_rank(listed: Int32Array, target: int) -> int:
    """Find the target in a ranked list.

    Args:
        listed: Items, best first. Shape: (at most num_items,).
        target: The held-out item.

    Returns:
        Its rank from 0, or `NOT_LISTED`.
    """
    places = np.flatnonzero(listed == target)
    return int(places[0]) if places.size else NOT_LISTED


def recall_at(ranks: Int32Array, k: int) -> Estimate:
    """Compute the share of listeners whose target is among the first k.

    Args:
        ranks: Ranks from 0, `NOT_LISTED` if missing. Shape: (num_listeners,).
        k: Length of the list, at least 1.

    Returns:
        Recall@k; 0 without cases.
    """
    return _mean(_listed(ranks, k).astype(np.float64))


def ndcg_at(ranks: Int32Array, k: int) -> Estimate:
    """Compute the mean discounted gain of the target's rank among the first k.

    Args:
        ranks: Ranks from 0, `NOT_LISTED` if missing. Shape: (num_listeners,).
        k: Length of the list, at least 1.

    Returns:
        NDCG@k; 0 without cases.
    """
    listed = _listed(ranks, k)
    return _mean(np.where(listed, 1.0 / np.log2(np.where(listed, ranks, 0) + 2.0), 0.0))


def summary(ranks: Int32Array) -> dict[str, Estimate]:
    """Compute every published metric.

    Args:
        ranks: Ranks from 0, `NOT_LISTED` if missing. Shape: (num_listeners,).

    Returns:
        `recall_at_10`, `recall_at_30` and `ndcg_at_10`.
    """
    return {
        "recall_at_10": recall_at(ranks, 10),
        "recall_at_30": recall_at(ranks, 30),
        "ndcg_at_10": ndcg_at(ranks, 10),
    }


def _listed(ranks: Int32Array, k: int) -> npt.NDArray[np.bool_]:
    listed: npt.NDArray[np.bool_] = (ranks != NOT_LISTED) & (ranks < k)
    return listed


def _mean(values: Float64Array) -> Estimate:
    count = values.size
    if count == 0:
        return Estimate(0.0, 0.0)
    spread = float(values.std(ddof=1)) if count > 1 else 0.0
    return Estimate(float(values.mean()), spread / math.sqrt(count))
