"""Interface of a tokenizer for live items: text to vectors, vectors to SIDs and back, with frozen codebooks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.live.vectors import Float64
from sidestream.tokenizer.sid import Sid, item_keys
from sidestream.tokenizer.tokenizer import CatalogTokenizer
from sidestream.tokenizer.views import ContentSegment, ItemContent


class LiveCodebooks(Protocol):
    """A frozen tokenizer for single vectors."""

    @property
    def version(self) -> str:
        """Version of the tokenizer."""

    @property
    def vector_dim(self) -> int:
        """D: dimensions of a representation vector."""

    @property
    def is_invertible(self) -> bool:
        """Whether SIDs decode to representation vectors, so that listeners have vectors."""

    def represent(self, item_id: str, text: str, field: str | None) -> npt.NDArray[np.float32]:
        """Compute the representation vector of a segment of an item. Shape: (D,)."""

    def encode(self, vector: npt.NDArray[np.float32]) -> Sid:
        """Encode a representation vector as a SID. Shape of the vector: (D,)."""

    def distance(self, vector: npt.NDArray[np.float32], sid: Sid) -> float:
        """Return the squared distance of a representation vector to the decoded SID."""

    def decode(self, sids: Sequence[Sid]) -> Float64 | None:
        """Decode SIDs to representation vectors; None if they decode to another space.

        Shape: (N, D).
        """


@dataclass(frozen=True, slots=True)
class FrozenCodebooks:
    """`LiveCodebooks` of a tokenizer with its content encoder.

    Attributes:
        tokenizer: The tokenizer.
    """

    tokenizer: CatalogTokenizer

    @property
    def version(self) -> str:
        """Version of the tokenizer."""
        return self.tokenizer.version

    @property
    def vector_dim(self) -> int:
        """D: dimensions of a representation vector."""
        return self.tokenizer.vector_dim

    @property
    def is_invertible(self) -> bool:
        """Whether SIDs decode to representation vectors: not with a trained encoder before the codebooks."""
        return self.tokenizer.tokenizer.levels.encoder is None

    def represent(self, item_id: str, text: str, field: str | None) -> npt.NDArray[np.float32]:
        """Compute the representation vector of a segment of an item.

        Args:
            item_id: The item; an item heard in training keeps its collaborative vector.
            text: Text of the segment; a tokenizer with views reads it as the text of the item and of its segments.
            field: What the text describes; None if unspecified.

        Returns:
            The vector.

            Shape: (D,).
        """
        item = ItemContent(item_id, text, segments=(ContentSegment(0, 1, text, field),))
        content = self.tokenizer.content_vectors([item])
        rows = self.tokenizer.tokenizer.representation.represent(item_keys([item_id]), content)
        vector: npt.NDArray[np.float32] = rows[0]
        return vector

    def encode(self, vector: npt.NDArray[np.float32]) -> Sid:
        """Encode a representation vector as a SID.

        Args:
            vector: The vector.

                Shape: (D,).

        Returns:
            The codes, first level first.
        """
        codes: list[int] = self.tokenizer.tokenizer.encode(vector[None, :])[0].tolist()
        return tuple(codes)

    def distance(self, vector: npt.NDArray[np.float32], sid: Sid) -> float:
        """Measure the distance of a vector to a SID, in the space in which codes are chosen.

        Args:
            vector: The vector.

                Shape: (D,).
            sid: The SID.

        Returns:
            Squared distance.
        """
        levels = self.tokenizer.tokenizer.levels
        point = vector[None, :].astype(np.float64)
        if levels.encoder is not None:
            point = np.asarray(levels.encoder.encode(point), dtype=np.float64)
        gap = point - levels.decode(np.array([sid], dtype=np.int32))
        return float((gap * gap).sum())

    def decode(self, sids: Sequence[Sid]) -> Float64 | None:
        """Decode SIDs to representation vectors.

        Args:
            sids: The SIDs.

        Returns:
            Vectors; None with a trained encoder before the codebooks, since decoded points are not representation
            vectors.

            Shape: (N, D).
        """
        if not self.is_invertible:
            return None
        levels = self.tokenizer.tokenizer.levels
        return np.asarray(levels.decode(np.array(sids, dtype=np.int32)), dtype=np.float64)
