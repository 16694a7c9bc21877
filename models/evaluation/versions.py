"""Owns the comparison of two tokenizer versions on the items of a log folder."""

import numpy as np

from models.data import LogFolder, training_sequences
from models.errors import DataError
from models.evaluation.catalogue import item_contents
from tokenizer.generations import Alignment, Comparison, VersionOnItems, compare
from tokenizer.tokenizer import CatalogTokenizer
from tokenizer.views import ItemContent


def compare_versions(
    folder: LogFolder, old: CatalogTokenizer, new: CatalogTokenizer, seed: int = 0
) -> tuple[Comparison, Alignment]:
    """Encode all items that a log folder ever published with two versions, and compare what came out.

    Cosines are those of the old version's content vectors, centred: what listeners say is in neither.

    Args:
        folder: Log folder.
        old: The version that runs.
        new: The candidate.
        seed: Of the draws.

    Returns:
        The comparison, and the alignment map from old to new.

    Raises:
        DataError: The folder is damaged or publishes no item.
    """
    item_ids = training_sequences(folder).item_ids
    if not item_ids:
        msg = f"{folder.path}: expected at least one item in catalog.jsonl, got none; there is nothing to compare"
        raise DataError(msg)
    items = item_contents(folder, item_ids)
    before, after = _on_items(old, items), _on_items(new, items)
    content = old.content_vectors(items).astype(np.float64)
    return compare(before, after, content - content.mean(axis=0), np.random.default_rng(seed))


def _on_items(tokenizer: CatalogTokenizer, items: list[ItemContent]) -> VersionOnItems:
    encoded = tokenizer.encode_items(items)
    vectors = encoded.vectors.astype(np.float32) * encoded.scales[:, None]
    return VersionOnItems(tokenizer.version, tokenizer.tokenizer.levels, encoded.codes, vectors)
