"""Ranking of a snapshot by decayed listens: within buckets, and in the list of popular items.

Counts of listens order buckets and popular items. The model's own weights (listens in training) still weight node means
and masses, which the model was trained with and which are expensive to change; they also order items without recent
listens, so without counts the order is unchanged.

A new item has no listens yet. For some hours after publication it therefore counts at least as much as a share of the
average item with listens. That is not a constant, since the typical number of listens depends on the installation.

The snapshot is not rebuilt: one array by row is added to it, and only buckets that are out of order are sorted.

Shape legend: R = rows of the store, m = places in buckets, n = items with counts.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.search import find, top_rows
from sidestream.tokenizer.catalogue.live_rows import MAX_LISTED_ROWS
from sidestream.tokenizer.catalogue.newness import is_new
from sidestream.tokenizer.catalogue.snapshot import CatalogueSnapshot
from sidestream.tokenizer.catalogue.trie.trie import Trie
from sidestream.tokenizer.popularity.counts import Counts, Decay

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]

# Keeps weights far below the smallest count that is kept, a thousandth of a listen.
_WEIGHT_SHARE = 1e-9


class Ranking:
    """Ranks snapshots by the latest counts. One writer, like the catalogue.

    Args:
        decay: Decay of the counts.
        new_within_hours: Hours after publication during which an item counts as new.
        fresh_share: Minimum count of a new item, as a share of the mean over items with listens.
    """

    def __init__(self, decay: Decay, new_within_hours: float, fresh_share: float) -> None:
        self._decay = decay
        self._new_within_hours = new_within_hours
        self._fresh_share = fresh_share
        self._counts = Counts.empty()
        self._now_ms = 0
        self._number = 0
        self._known: tuple[int, Float32Array] | None = None

    def update(self, counts: Counts, now_ms: int) -> None:
        """Replace the counts.

        Args:
            counts: Counts of all partitions.
            now_ms: UTC epoch ms as of which counts are decayed and items are new.
        """
        self._counts = counts
        self._now_ms = max(now_ms, self._decay.at(counts.landmark))
        self._known = None
        self._number += 1

    def ranked(self, snapshot: CatalogueSnapshot) -> CatalogueSnapshot:
        """Rank a snapshot.

        Args:
            snapshot: Snapshot from the catalogue, ordered by the model's weights.

        Returns:
            The snapshot ordered by the counts, sharing everything else; the same one if nothing was counted.
        """
        if not self._counts.keys.size:
            return snapshot
        popularity = self._scores_by_row(snapshot)
        trie = replace(snapshot.trie, bucket_rows=_sort_buckets(snapshot.trie, popularity, snapshot.item_weight))
        ranked = replace(snapshot, version=f"{snapshot.version}.{self._number}", trie=trie, popularity=popularity)
        counted = np.flatnonzero((popularity > 0) & snapshot.row_alive).astype(np.int32)
        # A mask, since `union1d` looks every row up in a hash table, which took longer than all the rest.
        listed = np.zeros(snapshot.num_rows, dtype=np.bool_)
        listed[snapshot.aliases.without_aliases(counted)] = listed[snapshot.popular_rows] = True
        members = np.flatnonzero(listed).astype(np.int32)
        popular = top_rows(members, popularity_scores(ranked, members), ~snapshot.item_key[members], MAX_LISTED_ROWS)
        return replace(ranked, popular_rows=popular)

    def _scores_by_row(self, snapshot: CatalogueSnapshot) -> Float32Array:
        """Return the count of each row's item; rows of an earlier snapshot are not looked up again."""
        counts, factor = self._counts, self._decay.factor(self._counts.landmark, self._now_ms)
        weights = (counts.weights * factor).astype(np.float32)
        popularity = np.zeros(snapshot.num_rows, dtype=np.float32)
        known = 0
        if self._known is not None and self._known[0] == snapshot.store_generation:
            known = self._known[1].size
            popularity[:known] = self._known[1]
            places = find(counts.keys, snapshot.item_key[known:])
            popularity[known:][places >= 0] = weights[places[places >= 0]]
        else:
            # Searched by the sorted keys of the counts: that takes a fifth of the time of searching by row.
            rows = snapshot.row_of_key(counts.keys)
            popularity[rows[rows >= 0]] = weights[rows >= 0]
        fresh = is_new(snapshot.published_s[known:], self._now_ms, self._new_within_hours)
        np.maximum(popularity[known:], self._fresh_share * weights.mean(), out=popularity[known:], where=fresh)
        popularity[snapshot.aliases.rows] = popularity[snapshot.aliases.items]
        popularity.flags.writeable = False
        self._known = (snapshot.store_generation, popularity)
        return popularity


def popularity_scores(snapshot: CatalogueSnapshot, rows: Int32Array) -> npt.NDArray[np.float64]:
    """Return sort keys of rows by popularity: decayed listens, then the model's weight.

    Args:
        snapshot: The snapshot; if it is not ranked, only the weight counts.
        rows: Rows.
            Shape: (n,).

    Returns:
        Positive scores, higher for more popular rows.
        Shape: (n,).
    """
    weights = snapshot.item_weight[rows].astype(np.float64)
    return weights if snapshot.popularity is None else snapshot.popularity[rows] + _WEIGHT_SHARE * weights


def _sort_buckets(trie: Trie, popularity: Float32Array, weights: Float32Array) -> Int32Array:
    """Sort the buckets that are out of order: by popularity, then weight, then row. Shape: (m,)."""
    rows = trie.bucket_rows
    values = popularity[rows]
    rising = np.flatnonzero(values[1:] > values[:-1]) + 1
    opens = np.zeros(rows.size + 1, dtype=np.bool_)
    opens[trie.bucket_offsets] = True
    # A position where values rise is the start of a bucket, or its bucket is out of order.
    wrong = np.searchsorted(trie.bucket_offsets, rising[~opens[rising]], side="right") - 1
    wrong = wrong[np.diff(wrong, prepend=-1) > 0]
    starts, sizes = trie.bucket_offsets[wrong], np.diff(trie.bucket_offsets)[wrong]
    if not wrong.size:
        return rows
    owners = np.repeat(np.arange(wrong.size), sizes)
    places = np.arange(owners.size) + np.repeat(starts - np.append(0, np.cumsum(sizes)[:-1]), sizes)
    some = rows[places]
    ordered = rows.copy()
    ordered[places] = some[np.lexsort((some, -weights[some], -popularity[some], owners))]
    return ordered
