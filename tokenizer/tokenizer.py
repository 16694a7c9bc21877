"""The frozen tokenizer, which maps an item's content to its SID, and its version.

`Tokenizer` consists of arrays only: fusion, representation and codebooks. `CatalogTokenizer` adds the content encoder
and takes items. A single item and a batch of a million get the same vectors and codes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.int8 import quantize_rows
from sidestream.tokenizer.content import ContentEncoder
from sidestream.tokenizer.drift.reference import DriftReference
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.levels import LevelKind, Quantizer
from sidestream.tokenizer.representation.vector import Representation
from sidestream.tokenizer.sid import Sid, item_keys
from sidestream.tokenizer.views import Fusion, ItemContent, read_views

VERSION_CHARS = 12


@dataclass(frozen=True, slots=True)
class EncodedItems:
    """SIDs and vectors of items.

    Attributes:
        codes: The SID of each item. Shape: (N, L).
        vectors: Representation vectors; component = int8 * scale of the row. Shape: (N, D).
        scales: Scale of each row; 0 for a vector of zeros. Shape: (N,).
    """

    codes: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Frozen fusion, representation and codebooks, paired with one content encoder by its fingerprint.

    Attributes:
        representation: Content vectors to representation vectors.
        levels: Representation vectors to codes.
        encoder_name: Name of the content encoder it was fitted with.
        encoder_fingerprint: Its fingerprint.
        fusion: Maps an item's views to its content vector; None if the text's vector is the content vector.
    """

    representation: Representation
    levels: Quantizer
    encoder_name: str
    encoder_fingerprint: str
    fusion: Fusion | None = None

    def __post_init__(self) -> None:
        if self.fusion is not None and self.fusion.dim != self.representation.content_dim:
            msg = (
                f"tokenizer: its views have {self.fusion.dim} dimensions, its representation takes "
                f"{self.representation.content_dim}; fit or copy the tokenizer again"
            )
            raise TokenizerError(msg)
        if self.representation.dim != self.levels.dim:
            msg = (
                f"tokenizer: representation gives {self.representation.dim} dimensions, its codebooks take "
                f"{self.levels.dim}; fit or copy the tokenizer again"
            )
            raise TokenizerError(msg)

    def __repr__(self) -> str:
        return (
            f"Tokenizer(version={self.version!r}, codebook_sizes={self.codebook_sizes}, encoder={self.encoder_name!r})"
        )

    @property
    def num_levels(self) -> int:
        """L: codes in a SID."""
        return len(self.levels.levels)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes of each level; `0 <= code < codebook_sizes[level]`."""
        return self.levels.sizes

    @property
    def level_kinds(self) -> tuple[LevelKind, ...]:
        """Kind of each level."""
        return self.levels.kinds

    @property
    def vector_dim(self) -> int:
        """D: dimensions of a representation vector."""
        return self.representation.dim

    @cached_property
    def version(self) -> str:
        """First 12 hex digits of a SHA-256 over all arrays, the shares of the halves and the encoder's fingerprint."""
        digest = hashlib.sha256()
        share = self.representation.content_share.hex()
        words = [self.encoder_name, self.encoder_fingerprint, share]
        # Kinds are identified by their arrays' names. Greedy encoding adds no word, so versions from before the beam
        # setting are unchanged.
        words += [f"beam {self.levels.beam_size}"] if self.levels.beam_size > 1 else []
        words += [f"view {name}" for name in self.views]
        for word in words:
            digest.update(f"{len(word)}:{word}".encode())
        for name, array in sorted(self.arrays().items()):
            digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:VERSION_CHARS]

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All arrays by name, as the artifact stores them and the version hashes them."""
        fusion = {} if self.fusion is None else self.fusion.arrays()
        return {**self.representation.arrays(), **self.levels.arrays(), **fusion}

    @property
    def views(self) -> tuple[str, ...]:
        """The views that are fused; empty if only text is read."""
        return () if self.fusion is None else self.fusion.names

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, npt.NDArray[np.generic]],
        *,
        content_share: float,
        encoder_name: str,
        encoder_fingerprint: str,
        level_kinds: Sequence[LevelKind] | None = None,
        beam_size: int = 1,
        views: Sequence[str] = (),
    ) -> "Tokenizer":
        """Build a tokenizer from the arrays that `arrays` returned.

        Args:
            arrays: All arrays by name.
            content_share: Share of the squared length that is the content half's.
            encoder_name: Name of the content encoder.
            encoder_fingerprint: Fingerprint of the content encoder.
            level_kinds: Kind of each level; None if all are k-means, one for each codebook.
            beam_size: Paths kept from level to level.
            views: The views that are fused; empty if only text is read.

        Returns:
            A tokenizer of the same version.

        Raises:
            TokenizerError: An array is missing or they do not fit each other.
        """
        if level_kinds is None:
            level_kinds = ["kmeans" for name in arrays if name.startswith("codebook_")]
        try:
            levels = Quantizer.from_arrays(arrays, level_kinds, beam_size)
            fusion = Fusion.from_arrays(views, arrays) if views else None
            representation = Representation(
                content_mean=arrays["content_mean"].astype(np.float64),
                projection=arrays["projection"].astype(np.float64),
                ridge=arrays["ridge"].astype(np.float64),
                keys=arrays["keys"].astype(np.uint64),
                collaborative=arrays["collaborative"].astype(np.int16),
                content_share=content_share,
            )
        except KeyError as error:
            msg = f"tokenizer: array {error} is missing; fit or copy the tokenizer again"
            raise TokenizerError(msg) from error
        return cls(representation, levels, encoder_name, encoder_fingerprint, fusion)

    def encode(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """Encode representation vectors.

        Args:
            vectors: Representation vectors.

                Shape: (N, D).

        Returns:
            Codes, first level first.

            Shape: (N, L).

        Raises:
            TokenizerError: The vectors are not finite or do not fit.
        """
        return self.levels.encode(vectors)


@dataclass(frozen=True, eq=False)
class CatalogTokenizer:
    """A tokenizer with its content encoder: maps items to SIDs.

    Attributes:
        tokenizer: The frozen arrays.
        encoder: The content encoder that the arrays were fitted with.
        reference: Drift reference; None if the fit did not measure it. Not part of the version.

    Example:
        ```python
        tokenizer = load_tokenizer(Path("artifact/tokenizer"))
        encoded = tokenizer.encode_items([ItemContent("e1", item_text("Rain on a tin roof", tags=["sleep"]))])
        print(format_sid(encoded.codes[0]))
        ```
    """

    tokenizer: Tokenizer
    encoder: ContentEncoder
    reference: DriftReference | None = None

    def __post_init__(self) -> None:
        expected, got = self.tokenizer.encoder_fingerprint, self.encoder.fingerprint
        fused = self.tokenizer.fusion is not None
        if expected != got or not (fused or self.encoder.dim == self.tokenizer.representation.content_dim):
            msg = (
                f"tokenizer {self.tokenizer.version} was fitted with encoder {self.tokenizer.encoder_name} "
                f"{expected[:12]}, got {self.encoder.name} {got[:12]}; install that encoder, or fit the tokenizer again"
            )
            raise TokenizerError(msg)

    @property
    def version(self) -> str:
        """Version of the tokenizer, 12 hex digits."""
        return self.tokenizer.version

    @property
    def num_levels(self) -> int:
        """L: codes in a SID."""
        return self.tokenizer.num_levels

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes of each level."""
        return self.tokenizer.codebook_sizes

    @property
    def vector_dim(self) -> int:
        """D: dimensions of a representation vector."""
        return self.tokenizer.vector_dim

    def encode_items(self, items: Sequence[ItemContent]) -> EncodedItems:
        """Encode items as SIDs and vectors, each independently of the others.

        Args:
            items: The items; an item heard in training keeps its collaborative vector.

        Returns:
            Codes and vectors in the same order; empty for no items.

        Raises:
            TokenizerError: An item's precomputed vector does not fit, or the encoder's does not.
        """
        keys = item_keys([item.item_id for item in items])
        vectors = self.tokenizer.representation.represent(keys, self.content_vectors(items))
        quantized, scales = quantize_rows(vectors)
        return EncodedItems(self.tokenizer.encode(vectors), quantized, scales)

    def content_vectors(self, items: Sequence[ItemContent]) -> npt.NDArray[np.float32]:
        """Compute the content vectors of items, as input of the representation.

        Args:
            items: The items.

        Returns:
            One row per item.

            Shape: (N, C).

        Raises:
            TokenizerError: An item's precomputed vector does not fit, or the encoder's does not.
        """
        fusion = self.tokenizer.fusion
        if fusion is None:
            return self.encoder.encode([item.text for item in items])
        return fusion.fuse(read_views(items, fusion.dims, self.encoder))

    def additional_sids(self, encoded: EncodedItems, max_sids: int, margin: float) -> list[tuple[Sid, ...]]:
        """Find up to `max_sids - 1` additional SIDs per item, with a squared error larger by at most `margin`."""
        vectors = encoded.vectors.astype(np.float32) * encoded.scales[:, None]
        return self.tokenizer.levels.alternatives(vectors, encoded.codes, max_sids - 1, margin)
