"""Values of `item-sids.v1` under several tokenizer versions at once. Pure."""

from collections.abc import Callable, Sequence

from sidestream.models.records import CatalogItem, ItemSids
from sidestream.streams.errors import TokenizerError
from sidestream.streams.tokenizing.settings import AgentSettings
from sidestream.streams.tokenizing.values import ItemEncoder, item_sids

# What data does to numpy and codecs; the agent buries such items where the version that serves refuses them.
_ITEM_ERRORS = (TokenizerError, ValueError, ArithmeticError)


class LiveVersions:
    """Tokenizes under all live versions.

    Args:
        encoders: The version that serves first: an item that it refuses is refused. What another one refuses goes
            without a SID under that version.
        left_out: Told the version and the item's id of each such item.
        settings: How many SIDs an item may have; none for one.
    """

    def __init__(
        self,
        encoders: Sequence[ItemEncoder],
        left_out: Callable[[str, str], None],
        settings: AgentSettings | None = None,
    ) -> None:
        self._first, *self._others = encoders
        self._left_out = left_out
        self._settings = settings

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions, the one that serves first."""
        return tuple(encoder.version for encoder in (self._first, *self._others))

    def __call__(self, items: Sequence[CatalogItem], offsets: Sequence[int]) -> list[ItemSids]:
        """Tokenize items.

        Args:
            items: Catalogue items.
            offsets: Source offset of each.

        Returns:
            One value per item, in order.

        Raises:
            TokenizerError: The version that serves cannot encode one.
        """
        values = item_sids(self._first, items, offsets, self._settings)
        for encoder in self._others:
            more = self._under(encoder, items, offsets)
            values = [
                value if other is None else value.model_copy(update={"versions": {**value.versions, **other.versions}})
                for value, other in zip(values, more, strict=True)
            ]
        return values

    def _under(
        self, encoder: ItemEncoder, items: Sequence[CatalogItem], offsets: Sequence[int]
    ) -> Sequence[ItemSids | None]:
        try:
            return item_sids(encoder, items, offsets, self._settings)
        except _ITEM_ERRORS:
            if len(items) == 1:
                self._left_out(encoder.version, items[0].item_id)
                return [None]
        # One item spoils the batch: find it, let the others through.
        alone = (self._under(encoder, [item], [offset]) for item, offset in zip(items, offsets, strict=True))
        return [value for values in alone for value in values]
