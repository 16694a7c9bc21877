"""Exact nearest neighbours by cosine, computed in blocks of bounded memory; for measurements.

Legend: Q queries, N items, D dimensions, K neighbours.
"""

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.search import find

Singles = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

_BLOCK_SCORES = 1 << 22


def unit_vectors(vectors: npt.NDArray[np.floating]) -> Singles:
    """Scale rows to unit length; a row of zeros stays zero.

    Args:
        vectors: Finite vectors.

            Shape: (N, D).

    Returns:
        The scaled rows.

        Shape: (N, D).
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Singles = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0).astype(np.float32)
    return unit


def nearest_items(queries: Rows, vectors: Singles, among: Rows, count: int) -> Rows:
    """Find the nearest other items of each query.

    Args:
        queries: Rows of the query items.

            Shape: (Q,).
        vectors: Unit vectors of all items.

            Shape: (N, D).
        among: Rows of the items that may be found, ascending; an item never finds itself.

            Shape: (M,).
        count: K, fewer than `among`.

    Returns:
        Rows of the K nearest, ascending by row rather than by distance.

        Shape: (Q, K).
    """
    found = np.empty((len(queries), count), dtype=np.intp)
    candidates = vectors[among]
    step = max(1, _BLOCK_SCORES // max(len(among), 1))
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        scores = vectors[block] @ candidates.T
        places = find(among, block)
        own = np.flatnonzero(places >= 0)
        scores[own, places[own]] = -np.inf
        found[start : start + step] = among[np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)]
    return found


def overlap(first: Rows, second: Rows) -> float:
    """Return the share of each row's entries that are also in the other array's row.

    Args:
        first: Distinct rows of items.

            Shape: (Q, K).
        second: Distinct rows of items.

            Shape: (Q, K).

    Returns:
        The mean share; 0 without queries.
    """
    if not first.size:
        return 0.0
    both = np.sort(np.concatenate([first, second], axis=1), axis=1)
    return float((both[:, 1:] == both[:, :-1]).sum() / first.size)
