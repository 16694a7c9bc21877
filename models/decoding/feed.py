"""Inputs of the graph from a snapshot and a request; numpy only.

Widths are limited by the catalogue: a beam wider than the number of nodes of a level, or more candidates than items,
would only add dead entries. The graph accepts them, but smaller arrays are cheaper.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidestream.models.errors import EngineError
from sidestream.models.features import Features, latest_usable
from sidestream.models.network_config import NetworkConfig
from sidestream.tokenizer.catalogue import CatalogueSnapshot, Eligibility
from sidestream.tokenizer.catalogue.eligibility import without_rows

Int32Array = npt.NDArray[np.int32]
Feed = Mapping[str, npt.NDArray[np.generic]]

_FIRST_ARANGE = 4096
# The graph could compare items with excluded rows itself, but would spend beams on nodes with only excluded items.
_NO_ROW = np.full(1, -1, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Widths:
    """Widths of one search."""

    beam: int
    leaf_beam: int
    candidates: int


class Aranges:
    """Provides views of one growing `arange`, so that requests do not allocate their fans; thread-safe."""

    def __init__(self) -> None:
        self._all = np.arange(_FIRST_ARANGE, dtype=np.int32)

    def up_to(self, count: int) -> Int32Array:
        """Return 0, 1, ..., count - 1. Shape: (count,)."""
        known = self._all
        if count > known.size:
            known = np.arange(2 * count, dtype=np.int32)
            self._all = known
        return known[:count]


def catalogue_feed(snapshot: CatalogueSnapshot, config: NetworkConfig, tokenizer_version: str) -> Feed:
    """Collect the inputs that are constant for a snapshot; no array is copied.

    Args:
        snapshot: Catalogue.
        config: Network configuration.
        tokenizer_version: Version that the network was trained on.

    Returns:
        Trie, buckets and item store by input name.

    Raises:
        EngineError: The snapshot's SIDs or vectors do not fit the network.
    """
    if snapshot.tokenizer_version != tokenizer_version:
        msg = (
            f"snapshot {snapshot.version} has SIDs of tokenizer {snapshot.tokenizer_version}, the model was trained on "
            f"{tokenizer_version}; load the matching pair"
        )
        raise EngineError(msg)
    got = (tuple(snapshot.codebook_sizes), snapshot.item_vectors.shape[1])
    if got != (config.codebook_sizes, config.d_model):
        msg = (
            f"snapshot {snapshot.version}: expected codebooks {config.codebook_sizes} and item vectors of width "
            f"{config.d_model}, got {got[0]} and {got[1]}; build the catalogue with the model's item table"
        )
        raise EngineError(msg)
    feed: dict[str, npt.NDArray[np.generic]] = {}
    for level in range(config.num_levels):
        feed[f"offsets_{level}"] = snapshot.level_offsets[level]
        feed[f"codes_{level}"] = snapshot.level_codes[level]
        if level < config.num_levels - 1:
            feed[f"node_vectors_{level}"] = snapshot.trie.node_vectors[level]
            feed[f"node_scales_{level}"] = snapshot.trie.node_scales[level]
        else:
            feed["leaf_rows"] = snapshot.trie.leaf_rows
        feed[f"node_log_mass_{level}"] = snapshot.node_log_mass[level]
    feed["bucket_offsets"], feed["bucket_rows"] = snapshot.bucket_offsets, snapshot.bucket_rows
    feed["item_vectors"], feed["item_scales"] = snapshot.rows.vector_table, snapshot.rows.scale_table
    # A non-contiguous view would be copied on every call.
    return {name: np.ascontiguousarray(array) for name, array in feed.items()}


def history_feed(features: Features, config: NetworkConfig, num_rows: int) -> Feed:
    """Check a history and remove its padding; an empty one becomes a single position of zeros.

    Args:
        features: Inputs of the encoder.
        config: Network.
        num_rows: Rows of the item store.

    Returns:
        The latest `max_len` usable entries.

    Raises:
        EngineError: Shapes, rows or codes do not fit.
    """
    rows, codes = features.history_rows, features.history_codes
    if rows.ndim != 1 or codes.shape != (rows.size, config.num_levels):
        msg = f"request: expected histories (T,) and (T, {config.num_levels}), got {rows.shape} and {codes.shape}"
        raise EngineError(msg)
    rows, codes = latest_usable(rows, codes, config.max_len)
    if rows.max() >= num_rows or (codes >= np.array(config.codebook_sizes)).any():
        msg = (
            f"request: a history row or code is out of range ({num_rows} rows, codebooks {config.codebook_sizes}); "
            "build features and request from the same snapshot"
        )
        raise EngineError(msg)
    return {
        "history_rows": np.ascontiguousarray(rows, dtype=np.int32),
        "history_codes": np.ascontiguousarray(codes, dtype=np.int32),
    }


def eligibility_feed(snapshot: CatalogueSnapshot, eligibility: Eligibility, excluded: Int32Array) -> Feed:
    """Collect masks; excluded items are removed from them on every level, so they take no place in the search.

    Args:
        snapshot: Catalogue.
        eligibility: Rules compiled for this snapshot.
        excluded: Rows that must not be returned, -1 = padding. Shape: (X,).

    Returns:
        One mask per level, the items' mask, and an empty list of excluded rows.

    Raises:
        EngineError: The rules were compiled for another snapshot.
    """
    item = eligibility.item
    sizes = [mask.size for mask in eligibility.nodes]
    expected = [codes.size for codes in snapshot.level_codes]
    if sizes != expected or item.size != snapshot.num_rows:
        msg = (
            f"request: eligibility for {item.size} rows and nodes {sizes} does not fit snapshot {snapshot.version} "
            f"with {snapshot.num_rows} rows and nodes {expected}; compile it from the pinned snapshot"
        )
        raise EngineError(msg)
    rows = snapshot.aliases.with_aliases(excluded[(excluded >= 0) & (excluded < item.size)])
    if rows.size:
        leaves = snapshot.leaf_of_sid(snapshot.codes_of_rows(rows))
        eligibility = without_rows(eligibility, snapshot.trie, rows, leaves)
    feed: dict[str, npt.NDArray[np.generic]] = {
        f"node_eligible_{level}": np.ascontiguousarray(mask) for level, mask in enumerate(eligibility.nodes)
    }
    feed["item_eligible"] = np.ascontiguousarray(eligibility.item)
    feed["excluded_rows"] = _NO_ROW
    return feed


def control_feed(snapshot: CatalogueSnapshot, widths: Widths, aranges: Aranges) -> Feed:
    """Choose fans and widths for one search of a non-empty catalogue.

    Args:
        snapshot: Catalogue.
        widths: Requested widths.
        aranges: Source of aranges.

    Returns:
        Fans per level and for buckets, beam, leaf beam and number of candidates.
    """
    nodes = [codes.size for codes in snapshot.level_codes]
    # An item with several SIDs takes several places until duplicates are removed.
    max_sids = snapshot.aliases.max_sids
    leaf_beam = min(widths.leaf_beam * max_sids, nodes[-1])
    beam = min(widths.beam, max(nodes[:-1], default=1))
    candidates = min(widths.candidates * max_sids, snapshot.bucket_rows.size)
    kept = [*(beam for _ in nodes[1:]), leaf_beam]
    feed: dict[str, npt.NDArray[np.generic]] = {}
    parents = 1
    for level, (children, width) in enumerate(zip(snapshot.max_children, kept, strict=True)):
        feed[f"fan_{level}"] = aranges.up_to(max(children, -(-width // parents)))
        parents = width
    feed["fan_bucket"] = aranges.up_to(max(snapshot.max_bucket, -(-candidates // leaf_beam)))
    feed["beam"], feed["leaf_beam"] = aranges.up_to(beam), aranges.up_to(leaf_beam)
    feed["out"] = aranges.up_to(candidates)
    return feed
