"""Evaluation catalogue: every item that a log folder ever published, as one snapshot.

Decisions:
- The last published version of an item is used; removals and expiry are ignored, because a held-out item that has
  ended since, such as a live stream, is a valid test case.
- Items have an index here and a row in the snapshot; both mappings are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidestream.models.data import LogFolder
from sidestream.models.data.texts import content_of
from sidestream.models.errors import DataError
from sidestream.models.records import CatalogItem
from sidestream.tokenizer.catalogue import Catalogue, CatalogueSnapshot, CatalogueUpdate, ItemFacts, Vectorize
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.sid import item_keys
from sidestream.tokenizer.tokenizer import CatalogTokenizer, EncodedItems
from sidestream.tokenizer.views import ItemContent

Int32Array = npt.NDArray[np.int32]

_CHUNK = 4_096


@dataclass(frozen=True, eq=False)
class EvaluationCatalogue:
    """A snapshot and its items.

    Args:
        snapshot: The catalogue as input of the engine.
        codes: SIDs of all items. Shape: (num_items, L).
        row_of_item: Snapshot row of each item. Shape: (num_items,).
        item_of_row: Item of each snapshot row. Shape: (R,).
    """

    snapshot: CatalogueSnapshot
    codes: Int32Array
    row_of_item: Int32Array
    item_of_row: Int32Array


def last_items(folder: LogFolder, item_ids: Sequence[str]) -> list[CatalogItem]:
    """Read the last published version of items.

    Args:
        folder: Log folder.
        item_ids: Items, each published at least once.

    Returns:
        One record for each id, in order.

    Raises:
        DataError: An item was never published.
    """
    last = {event.item_id: event.item for event in folder.catalog() if event.item is not None}
    if missing := [item_id for item_id in item_ids if item_id not in last]:
        msg = (
            f"{folder.path}: catalog.jsonl never publishes item {missing[0]!r} ({len(missing)} in all); import it again"
        )
        raise DataError(msg)
    return [last[item_id] for item_id in item_ids]


def item_contents(folder: LogFolder, item_ids: Sequence[str]) -> list[ItemContent]:
    """Read the contents of items, as input for fitting and encoding.

    Args:
        folder: Log folder.
        item_ids: Items, each published at least once.

    Returns:
        One item for each id, in order.

    Raises:
        DataError: An item was never published, or its content is malformed.
    """
    contents: list[ItemContent] = []
    for item in last_items(folder, item_ids):
        try:
            contents.append(content_of(item))
        except TokenizerError as error:
            msg = f"{folder.path}: catalog.jsonl, item {item.item_id!r}: {error}"
            raise DataError(msg) from error
    return contents


def build_catalogue(
    item_ids: Sequence[str], encoded: EncodedItems, tokenizer: CatalogTokenizer, dim: int, vectorize: Vectorize
) -> EvaluationCatalogue:
    """Build the snapshot of all items.

    Args:
        item_ids: Items; their position is their index.
        encoded: SIDs and vectors of the items.
        tokenizer: Source of version and sizes.
        dim: Dimensions of an item vector.
        vectorize: Computes item vectors and weights: the model artifact's item table.

    Returns:
        The snapshot with both mappings between items and rows.
    """
    catalogue = Catalogue(tokenizer.version, tokenizer.codebook_sizes, dim, vectorize, x_dim=encoded.vectors.shape[1])
    for start in range(0, len(item_ids), _CHUNK):
        catalogue.apply(
            [
                CatalogueUpdate(
                    item_id=item_ids[index],
                    source_offset=index,
                    facts=ItemFacts(),
                    sid=tuple(encoded.codes[index].tolist()),
                    x_int8=encoded.vectors[index].tobytes(),
                    x_scale=float(encoded.scales[index]),
                )
                for index in range(start, min(start + _CHUNK, len(item_ids)))
            ]
        )
    snapshot = catalogue.snapshot()
    rows = snapshot.row_of_key(item_keys(item_ids))
    item_of_row = np.full(snapshot.num_rows, -1, np.int32)
    item_of_row[rows] = np.arange(len(item_ids), dtype=np.int32)
    return EvaluationCatalogue(snapshot, encoded.codes, rows, item_of_row)
