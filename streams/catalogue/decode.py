"""Reads values of `item-sids.v1` into catalogue updates, under the one tokenizer version that this worker serves."""

import base64

from pydantic import ValidationError

from models.records import ItemSids, TokenizedItem
from streams.contracts.decode import Reason, decode_item_key
from streams.errors import BadRecord
from tokenizer.catalogue import CatalogueUpdate, ItemFacts
from tokenizer.sid import Sid

# Far above any honest vector; float32 would overflow not far beyond.
_MAX_SCALE = 1e30


class UpdateDecoder:
    """Decodes records; checks all that the catalogue's arrays rely on.

    Args:
        tokenizer_version: Version whose SIDs are taken.
        codebook_sizes: Codes per level.
        vector_dim: Components of a representation vector.
    """

    def __init__(self, tokenizer_version: str, codebook_sizes: tuple[int, ...], vector_dim: int) -> None:
        self.tokenizer_version = tokenizer_version
        self._codebook_sizes = codebook_sizes
        self._vector_dim = vector_dim

    def decode(self, key: bytes | None, value: bytes | None) -> CatalogueUpdate:
        """Read one record.

        Args:
            key: The item's id, UTF-8.
            value: JSON; None removes the item.

        Returns:
            The update. An item without a SID under our version has none there, and is no candidate.

        Raises:
            BadRecord: Key or value do not fit the contract.
        """
        item_id = decode_item_key(key)
        if value is None:
            return CatalogueUpdate(item_id=item_id, source_offset=None)
        try:
            item = ItemSids.from_json(value)
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadRecord(Reason.BAD_VALUE, f"{where or 'value'}: {first['msg']}") from exc
        if item.item_id != item_id:
            raise BadRecord(Reason.KEY_MISMATCH, f"expected key {item.item_id!r}, got {item_id!r}")
        tokenized = item.versions.get(self.tokenizer_version)
        facts = _facts(item)
        if tokenized is None:
            return CatalogueUpdate(item.item_id, item.source_offset, facts, revision=item.revision or 0)
        return CatalogueUpdate(
            item.item_id,
            item.source_offset,
            facts,
            self._sid(tokenized),
            self._vector(tokenized),
            tokenized.vector_scale,
            item.revision or 0,
        )

    def _sid(self, tokenized: TokenizedItem) -> Sid:
        sid = tokenized.sid
        sizes = self._codebook_sizes
        if len(sid) != len(sizes) or any(code >= size for code, size in zip(sid, sizes, strict=False)):
            detail = f"version {self.tokenizer_version}: expected codes below {sizes}, got {sid}"
            raise BadRecord(Reason.BAD_VALUE, detail)
        return sid

    def _vector(self, tokenized: TokenizedItem) -> bytes:
        try:
            vector = base64.b64decode(tokenized.vector, validate=True)
        except ValueError as exc:  # bad padding or alphabet, or characters beyond ASCII
            raise BadRecord(Reason.BAD_VALUE, f"vector: not base64 ({exc})") from exc
        if tokenized.vector_scale > _MAX_SCALE:
            raise BadRecord(
                Reason.BAD_VALUE, f"vector_scale: expected at most {_MAX_SCALE}, got {tokenized.vector_scale}"
            )
        if len(vector) != self._vector_dim:
            raise BadRecord(Reason.BAD_VALUE, f"vector: expected {self._vector_dim} components, got {len(vector)}")
        return vector


def _facts(item: ItemSids) -> ItemFacts:
    return ItemFacts(
        kind=item.kind,
        title=item.title,
        creator=item.creator,
        show=item.show,
        tags=item.tags,
        language=item.language,
        market=item.market,
        explicit=item.explicit,
        published_at=item.published_at,
        expires_at=item.expires_at,
    )
