"""Decoding of `item-sids.v1` into catalogue updates, for the tokenizer version that this worker serves."""

from sidestream.streams.catalogue.wire import TokenizedRow, decode_item_sids
from sidestream.streams.contracts.decode import Reason, decode_item_key
from sidestream.streams.errors import BadRecord
from sidestream.tokenizer.catalogue import CatalogueUpdate, facts_of
from sidestream.tokenizer.sid import Sid

# Far above any valid vector; float32 would overflow not far beyond it.
_MAX_SCALE = 1e30


class UpdateDecoder:
    """Decodes records, and checks everything that the catalogue's arrays rely on.

    Args:
        tokenizer_version: Version whose SIDs are used.
        codebook_sizes: Codes per level.
        vector_dim: Components of a representation vector.
    """

    def __init__(self, tokenizer_version: str, codebook_sizes: tuple[int, ...], vector_dim: int) -> None:
        self.tokenizer_version = tokenizer_version
        self._codebook_sizes = codebook_sizes
        self._vector_dim = vector_dim

    def decode(self, key: bytes | None, value: bytes | None) -> CatalogueUpdate:
        """Decode one record.

        Args:
            key: The item's id, UTF-8.
            value: JSON; None removes the item.

        Returns:
            The update; it has no SID if the item has none under our version, and the item is then not a candidate.

        Raises:
            BadRecord: Key or value do not match the contract.
        """
        item_id = decode_item_key(key)
        if value is None:
            return CatalogueUpdate(item_id=item_id, source_offset=None)
        try:
            item = decode_item_sids(value)
        except ValueError as exc:
            raise BadRecord(Reason.BAD_VALUE, str(exc)) from exc
        if item.item_id != item_id:
            raise BadRecord(Reason.KEY_MISMATCH, f"expected key {item.item_id!r}, got {item_id!r}")
        tokenized = item.versions.get(self.tokenizer_version)
        facts = facts_of(item)
        if tokenized is None:
            return CatalogueUpdate(item_id, item.source_offset, facts, revision=item.revision or 0)
        return CatalogueUpdate(
            item_id,
            item.source_offset,
            facts,
            self._checked_sid(tokenized.sid),
            self._vector(tokenized),
            tokenized.vector_scale,
            item.revision or 0,
            more_sids=tuple(self._checked_sid(sid) for sid in tokenized.more_sids or ()),
        )

    def _checked_sid(self, sid: Sid) -> Sid:
        sizes = self._codebook_sizes
        if len(sid) == len(sizes):
            for code, size in zip(sid, sizes, strict=True):
                if code >= size:
                    break
            else:
                return sid
        detail = f"version {self.tokenizer_version}: expected codes below {sizes}, got {sid}"
        raise BadRecord(Reason.BAD_VALUE, detail)

    def _vector(self, tokenized: TokenizedRow) -> bytes:
        if tokenized.vector_scale > _MAX_SCALE:
            detail = f"vector_scale: expected at most {_MAX_SCALE}, got {tokenized.vector_scale}"
            raise BadRecord(Reason.BAD_VALUE, detail)
        vector = tokenized.vector
        if len(vector) != self._vector_dim:
            raise BadRecord(Reason.BAD_VALUE, f"vector: expected {self._vector_dim} components, got {len(vector)}")
        return vector
