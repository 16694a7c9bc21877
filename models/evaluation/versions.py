"""Comparison of two tokenizer versions on the items of a log folder."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sidestream.models.data import LogFolder, training_sequences
from sidestream.models.errors import DataError
from sidestream.models.evaluation.catalogue import item_contents
from sidestream.tokenizer.generations import Alignment, Comparison, VersionOnItems, compare
from sidestream.tokenizer.tokenizer import CatalogTokenizer
from sidestream.tokenizer.views import ItemContent


class OnItems(NamedTuple):
    """The same items under two versions.

    Attributes:
        old: The version in use.
        new: The candidate.
        common: Centred content vectors of the old version, without collaborative information. Shape: (N, S).
    """

    old: VersionOnItems
    new: VersionOnItems
    common: npt.NDArray[np.float64]


def compare_versions(
    folder: LogFolder, old: CatalogTokenizer, new: CatalogTokenizer, seed: int = 0
) -> tuple[Comparison, Alignment]:
    """Encode all items that a log folder ever published with two versions, and compare the results.

    Args:
        folder: Log folder.
        old: The version in use.
        new: The candidate.
        seed: Random seed.

    Returns:
        The comparison, and the alignment map from old to new.

    Raises:
        DataError: The folder is damaged or publishes no item.
    """
    return compare(*encode_with_both(folder, old, new), np.random.default_rng(seed))


def encode_with_both(folder: LogFolder, old: CatalogTokenizer, new: CatalogTokenizer) -> OnItems:
    """Encode all items that a log folder ever published with two versions.

    Args:
        folder: Log folder.
        old: The version in use.
        new: The candidate.

    Returns:
        SIDs and vectors of both versions, in the same order.

    Raises:
        DataError: The folder is damaged or publishes no item.
    """
    item_ids = training_sequences(folder).item_ids
    if not item_ids:
        msg = f"{folder.path}: expected at least one item in catalog.jsonl, got none; there is nothing to compare"
        raise DataError(msg)
    items = item_contents(folder, item_ids)
    content = old.content_vectors(items).astype(np.float64)
    return OnItems(_on_items(old, items), _on_items(new, items), content - content.mean(axis=0))


def _on_items(tokenizer: CatalogTokenizer, items: list[ItemContent]) -> VersionOnItems:
    encoded = tokenizer.encode_items(items)
    vectors = encoded.vectors.astype(np.float32) * encoded.scales[:, None]
    return VersionOnItems(tokenizer.version, tokenizer.tokenizer.levels, encoded.codes, vectors)
