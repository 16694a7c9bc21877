"""From catalogue items to `item-sids.v1` values, under one or several tokenizer versions: pure, in bulk."""

import base64
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sidestream.models.data.texts import content_of
from sidestream.models.records import CatalogItem, ItemSids, TokenizedItem
from sidestream.streams.errors import TokenizerError
from sidestream.streams.tokenizing.settings import AgentSettings
from sidestream.tokenizer.sid import Sid
from sidestream.tokenizer.views import ItemContent

# What bad data raises in numpy, codecs and pydantic. Anything else is a defect of ours: if it counted as the item's
# fault, it would send the whole catalogue to the dead letters.
ITEM_ERRORS = (TokenizerError, ValueError, ArithmeticError)


class EncodedItems(Protocol):
    """The tokenizer's result for n items."""

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
    """The tokenizer as the agent needs it; an item gets the same codes alone and in bulk."""

    @property
    def version(self) -> str:
        """Version under which the codes have their meaning."""
        ...

    def encode_items(self, items: Sequence[ItemContent]) -> EncodedItems:
        """Encode items by what is known of their content."""
        ...

    def additional_sids(self, encoded: Any, max_sids: int, margin: float) -> list[tuple[Sid, ...]]:
        """Find additional SIDs of encoded items; called only where the settings allow several."""
        ...


def item_sids(
    encoder: ItemEncoder, items: Sequence[CatalogItem], offsets: Sequence[int], settings: AgentSettings | None = None
) -> list[ItemSids]:
    """Tokenize items under one version.

    Args:
        encoder: The tokenizer.
        items: Catalogue items.
        offsets: Source offset of each item; it orders the item's updates.
        settings: How many SIDs an item may have; `None` means one.

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
        # Without it no reader could know that the item is new, and slots are reserved for new items.
        facts["published_at"] = item.at
    return ItemSids(**facts, source_offset=offset, versions={version: tokenized})


class MultiVersionTokenizer:
    """Tokenizes under several tokenizer versions at once.

    Args:
        encoders: The first one is the version that serves: an item that it rejects is rejected. An item that another
            one rejects gets no SID under that version.
        on_skipped: Called with the version and the item's id for each such missing SID.
        settings: How many SIDs an item may have; `None` means one.
    """

    def __init__(
        self,
        encoders: Sequence[ItemEncoder],
        on_skipped: Callable[[str, str], None],
        settings: AgentSettings | None = None,
    ) -> None:
        self._first, *self._others = encoders
        self._on_skipped = on_skipped
        self._settings = settings

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions, the one that serves first."""
        return tuple(encoder.version for encoder in (self._first, *self._others))

    def __call__(self, items: Sequence[CatalogItem], offsets: Sequence[int]) -> list[ItemSids]:
        """Tokenize items.

        Args:
            items: Catalogue items.
            offsets: Source offset of each item.

        Returns:
            One value per item, in order.

        Raises:
            TokenizerError: The version that serves cannot encode one of them.
        """
        values = item_sids(self._first, items, offsets, self._settings)
        for encoder in self._others:
            more = self._tokenize_under(encoder, items, offsets)
            values = [
                value if other is None else value.model_copy(update={"versions": {**value.versions, **other.versions}})
                for value, other in zip(values, more, strict=True)
            ]
        return values

    def _tokenize_under(
        self, encoder: ItemEncoder, items: Sequence[CatalogItem], offsets: Sequence[int]
    ) -> Sequence[ItemSids | None]:
        try:
            return item_sids(encoder, items, offsets, self._settings)
        except ITEM_ERRORS:
            if len(items) == 1:
                self._on_skipped(encoder.version, items[0].item_id)
                return [None]
        # One item fails the batch: encode each alone, so that the others get their SID.
        alone = (self._tokenize_under(encoder, [item], [offset]) for item, offset in zip(items, offsets, strict=True))
        return [value for values in alone for value in values]
