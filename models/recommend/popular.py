"""Popular items under a session's rules, used as fallback when the model cannot answer."""

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.search import top_rows
from sidestream.tokenizer.catalogue import CatalogueSnapshot
from sidestream.tokenizer.popularity import popularity_scores

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]


def popular(snapshot: CatalogueSnapshot, allowed: BoolArray, wanted: int) -> Int32Array:
    """List the most popular allowed items.

    Args:
        snapshot: Pinned catalogue.
        allowed: Rows that may be listed.
            Shape: (R,).
        wanted: Maximum number of rows.

    Returns:
        Rows, best first; ties by item key, so that equal catalogues give equal lists in every worker.
            Shape: (n,), n <= wanted.
    """
    short = snapshot.popular_rows
    rows: Int32Array = short[allowed[short]][:wanted]
    if rows.size >= wanted:
        return rows
    # The short list is exhausted by a narrow rule (one creator, one market): search the whole store.
    every = np.flatnonzero(allowed).astype(np.int32)
    return top_rows(every, popularity_scores(snapshot, every), ~snapshot.item_key[every], wanted)
