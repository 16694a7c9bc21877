"""What live items need of a tokenizer: words to vectors, vectors to SIDs and back, all with frozen codebooks."""

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
    """A frozen tokenizer, vector by vector."""

    @property
    def version(self) -> str:
        """Version that gives the codes their meaning."""

    @property
    def vector_dim(self) -> int:
        """D: components of a representation vector."""

    @property
    def is_invertible(self) -> bool:
        """Whether SIDs stand for representation vectors, so that listeners have one."""

    def represent(self, item_id: str, text: str, field: str | None) -> npt.NDArray[np.float32]:
        """Give a segment of an item its representation vector. Shape: (D,)."""

    def encode(self, vector: npt.NDArray[np.float32]) -> Sid:
        """Give a representation vector its SID. Shape of the vector: (D,)."""

    def distance(self, vector: npt.NDArray[np.float32], sid: Sid) -> float:
        """Return the squared distance of a representation vector to what a SID stands for."""

    def decode(self, sids: Sequence[Sid]) -> Float64 | None:
        """Return the representation vectors that SIDs stand for; none where they stand in another space.

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
        """D: components of a representation vector."""
        return self.tokenizer.vector_dim

    @property
    def is_invertible(self) -> bool:
        """Whether SIDs stand for representation vectors: not where a trained encoder stands before the codebooks."""
        return self.tokenizer.tokenizer.levels.encoder is None

    def represent(self, item_id: str, text: str, field: str | None) -> npt.NDArray[np.float32]:
        """Give a segment of an item its representation vector.

        Args:
            item_id: The item; one heard in training keeps what its listeners said.
            text: Words of the segment; tokenizers of views read them as the item's words and as those of its segments.
            field: What the words describe; None where that is not said.

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
        """Give a representation vector its SID.

        Args:
            vector: The vector.

                Shape: (D,).

        Returns:
            The codes, first level first.
        """
        codes: list[int] = self.tokenizer.tokenizer.encode(vector[None, :])[0].tolist()
        return tuple(codes)

    def distance(self, vector: npt.NDArray[np.float32], sid: Sid) -> float:
        """Measure how far a SID is from a vector, in the space in which the codes are chosen.

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
        """Return the vectors that SIDs stand for.

        Args:
            sids: The SIDs.

        Returns:
            Vectors; none where a trained encoder comes before the codebooks, since their points are no representation
            vectors.

            Shape: (N, D).
        """
        if not self.is_invertible:
            return None
        levels = self.tokenizer.tokenizer.levels
        return np.asarray(levels.decode(np.array(sids, dtype=np.int32)), dtype=np.float64)
