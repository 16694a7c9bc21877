"""From catalogue items to `item-sids.v1` values: pure, in bulk."""

import base64
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sidestream.models.data.texts import content_of
from sidestream.models.records import CatalogItem, ItemSids, TokenizedItem
from sidestream.streams.tokenizing.settings import AgentSettings
from sidestream.tokenizer.sid import Sid
from sidestream.tokenizer.views import ItemContent


class EncodedItems(Protocol):
    """What a tokenizer says of n items."""

    @property
    def codes(self) -> npt.NDArray[np.int32]:
        """SIDs. Shape: (n, L)."""
        ...

    @property
    def vectors(self) -> npt.NDArray[np.int8]:
        """Representation vectors. Shape: (n, d)."""
        ...

    @property
    def scales(self) -> npt.NDArray[np.float32]:
        """Component = int8 * scale. Shape: (n,)."""
        ...


class ItemEncoder(Protocol):
    """The tokenizer as the agent needs it; the same item gives the same codes alone and in bulk."""

    @property
    def version(self) -> str:
        """Version that gives the codes their meaning."""
        ...

    def encode_items(self, items: Sequence[ItemContent]) -> EncodedItems:
        """Encode items by what is known of their content."""
        ...

    def additional_sids(self, encoded: Any, max_sids: int, margin: float) -> list[tuple[Sid, ...]]:
        """Find further SIDs of what was encoded; called only where several are asked for."""
        ...


def item_sids(
    encoder: ItemEncoder, items: Sequence[CatalogItem], offsets: Sequence[int], settings: AgentSettings | None = None
) -> list[ItemSids]:
    """Tokenize items.

    Args:
        encoder: The tokenizer.
        items: Catalogue items.
        offsets: Source offset of each, which orders its updates.
        settings: How many SIDs an item may have; none for one.

    Returns:
        One value per item, in order.

    Raises:
        TokenizerError: An item is malformed or cannot be encoded.
    """
    if not items:
        return []
    encoded = encoder.encode_items([content_of(item) for item in items])
    further: Sequence[tuple[Sid, ...]] = [()] * len(items)
    if settings is not None and settings.max_sids > 1:
        further = encoder.additional_sids(encoded, settings.max_sids, settings.sid_margin)
    return [
        _value(item, offset, encoder.version, encoded, row, further[row])
        for row, (item, offset) in enumerate(zip(items, offsets, strict=True))
    ]


def _value(
    item: CatalogItem, offset: int, version: str, encoded: EncodedItems, row: int, further: tuple[Sid, ...]
) -> ItemSids:
    tokenized = TokenizedItem(
        sid=tuple(encoded.codes[row].tolist()),
        vector=base64.b64encode(encoded.vectors[row].tobytes()).decode("ascii"),
        vector_scale=float(encoded.scales[row]),
        more_sids=further or None,
    )
    facts = item.facts()
    if item.published_at is None:
        # Without it no reader could tell that an item is new, and places are reserved for new items.
        facts["published_at"] = item.at
    return ItemSids(**facts, source_offset=offset, versions={version: tokenized})
