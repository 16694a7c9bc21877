"""The frozen residual quantizer: encoding of vectors to codes, and decoding.

Encoding is exact on the grid of `tokenizer/arrays/grid.py`, so codes do not depend on the batch.

Legend: N vectors, L levels, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import VECTOR_BITS, Exact, require_rows
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.levels.exact import encode_exact, paths_exact
from sidestream.tokenizer.levels.kinds import (
    COMPONENT_BOUND,
    Arrays,
    CentroidLevel,
    FsqLevel,
    Level,
    LevelKind,
    read_level,
)
from sidestream.tokenizer.levels.mlp import MlpEncoder
from sidestream.tokenizer.levels.screen import Screen
from sidestream.tokenizer.sid import Sid

MAX_BEAM_SIZE = 64
_STEPS = float(1 << VECTOR_BITS)
_BLOCK_ROWS = 512


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Frozen levels, first level first.

    Attributes:
        levels: Centroid levels, and at most one FSQ level, which is the last.
        beam_size: Paths kept from level to level; 1 is greedy. An FSQ level continues the best path only.
        encoder: Trained encoder before the levels, which then quantize its latent space; or None.
    """

    levels: tuple[Level, ...]
    beam_size: int = 1
    encoder: MlpEncoder | None = None

    def __post_init__(self) -> None:
        if not self.levels:
            msg = "quantizer: expected at least one codebook, got none; fit the tokenizer again"
            raise TokenizerError(msg)
        dim = self.levels[0].dim if self.encoder is None else self.encoder.latent_dim
        for number, level in enumerate(self.levels):
            if level.dim != dim or (level.kind == "fsq" and number + 1 < len(self.levels)):
                msg = (
                    f"codebook of level {number}: expected {dim} dimensions, and kind fsq as the last level only; got "
                    f"{level.dim} and {level.kind}; fit or copy the tokenizer again"
                )
                raise TokenizerError(msg)
        if not 1 <= self.beam_size <= MAX_BEAM_SIZE or (self.beam_size > 1 and "psrq" in self.kinds):
            msg = (
                f"quantizer: expected a beam of 1 to {MAX_BEAM_SIZE} paths, and 1 with psrq levels, whose scores "
                f"of different prefixes do not compare; got {self.beam_size} with levels {self.kinds}; set beam_size"
            )
            raise TokenizerError(msg)

    @property
    def dim(self) -> int:
        """D: dimensions of the input vectors."""
        return self.levels[0].dim if self.encoder is None else self.encoder.dim

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes of each level."""
        return tuple(level.size for level in self.levels)

    @property
    def kinds(self) -> tuple[LevelKind, ...]:
        """Kind of each level."""
        return tuple(level.kind for level in self.levels)

    def encode(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """Encode vectors; the codes of a vector do not depend on the batch.

        Args:
            vectors: Representation vectors; other values are first rounded to the 14-bit grid.

                Shape: (N, D).

        Returns:
            Codes, first level first.

            Shape: (N, L).

        Raises:
            TokenizerError: The vectors are not finite, have a wrong dimension, or have components of 2 or more.
        """
        _require_vectors(vectors, self.dim)
        if len(vectors) == 1 and self.encoder is None and self._screen is not None and vectors.dtype == np.float32:
            return np.array([self._screen.encode_one(np.rint(vectors[0] * _STEPS) / _STEPS)], dtype=np.int32)
        codes = np.empty((len(vectors), len(self.levels)), dtype=np.int32)
        for start in range(0, len(vectors), _BLOCK_ROWS):
            # Multiplying by a power of two is exact, and the 16 bits of a component below 2 fit in float32.
            snapped = np.rint(vectors[start : start + _BLOCK_ROWS] * _STEPS) / _STEPS
            block = snapped if self.encoder is None else self.encoder.encode(snapped.astype(np.float64))
            screen = self._screen
            found = self._encode_exact(block.astype(np.float64)) if screen is None else screen.encode(block)
            codes[start : start + _BLOCK_ROWS] = found
        return codes

    def alternatives(
        self, vectors: npt.NDArray[np.float32], codes: npt.NDArray[np.int32], count: int, margin: float
    ) -> list[tuple[Sid, ...]]:
        """Find alternative codes of each vector that approximate it nearly as well.

        Args:
            vectors: Vectors, as for `encode`.

                Shape: (N, D).
            codes: Their codes from `encode`.

                Shape: (N, L).
            count: Maximum number of alternatives.
            margin: How much larger their squared error may be, relative to that of `codes`.

        Returns:
            The alternatives of each vector, best first.

        Raises:
            TokenizerError: The vectors do not fit, or the levels are psrq.
        """
        _require_vectors(vectors, self.dim)
        if "psrq" in self.kinds:
            msg = "several SIDs: expected levels whose paths are comparable, got psrq; set agent.max_sids to 1"
            raise TokenizerError(msg)
        levels, fsq = self._parts
        found: list[tuple[Sid, ...]] = []
        for start in range(0, len(vectors), _BLOCK_ROWS):
            snapped = (np.rint(vectors[start : start + _BLOCK_ROWS] * _STEPS) / _STEPS).astype(np.float64)
            block = snapped if self.encoder is None else self.encoder.encode(snapped)
            # One more, because the codes themselves are usually among them.
            paths, residuals = paths_exact(levels, count + 1, block) if levels else _no_paths(block)
            if fsq is not None:
                last = fsq.choose(residuals.reshape(-1, residuals.shape[2])).reshape(*paths.shape[:2], 1)
                paths = np.concatenate([paths, last], axis=2)
            own = codes[start : start + len(block)]
            limits = (1.0 + margin) * self._errors(own[:, None], block)[:, 0]
            errors = self._errors(paths, block)
            for path, error, first, limit in zip(paths, errors, own.tolist(), limits, strict=True):
                order = [place for place in np.argsort(error, kind="stable").tolist() if error[place] <= limit]
                others = [tuple(path[place].tolist()) for place in order]
                found.append(tuple(other for other in others if other != tuple(first))[:count])
        return found

    def decode(self, codes: npt.NDArray[np.int32]) -> Exact:
        """Decode codes; a prefix decodes to the centre of the SIDs that start with it.

        Args:
            codes: Codes, first level first, at most one per level.

                Shape: (N, L or fewer).

        Returns:
            Points in the space of the vectors, or in the latent space of the trained encoder if there is one.

            Shape: (N, D).

        Raises:
            TokenizerError: More codes than levels, or a code outside its level.
        """
        sizes = self.sizes[: codes.shape[-1]] if codes.ndim == 2 else ()
        if codes.ndim != 2 or codes.shape[1] > len(self.sizes) or np.any((codes < 0) | (codes >= np.array(sizes))):
            msg = f"codes to decode: expected shape (num_rows, up to {len(self.sizes)}) below {self.sizes}, got " + (
                f"shape {codes.shape}; use the codes of this tokenizer"
            )
            raise TokenizerError(msg)
        points = np.zeros((len(codes), self.levels[0].dim))
        for level, column in zip(self.levels, codes.T, strict=False):
            points += level.decode(column)
        return points

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All arrays by name, as an artifact stores them and a version hashes them."""
        arrays = {} if self.encoder is None else self.encoder.arrays()
        for number, level in enumerate(self.levels):
            arrays |= level.arrays(number)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays, kinds: Sequence[str], beam_size: int = 1) -> "Quantizer":
        """Build a quantizer from the arrays that `arrays` returned.

        Args:
            arrays: All arrays by name; may include others.
            kinds: Kind of each level.
            beam_size: Paths kept from level to level.

        Returns:
            An equal quantizer.

        Raises:
            KeyError: An array is missing.
            TokenizerError: The arrays do not fit each other.
        """
        levels = tuple(read_level(kind, number, arrays) for number, kind in enumerate(kinds))
        return cls(levels, beam_size, MlpEncoder.from_arrays(arrays))

    def _errors(self, codes: npt.NDArray[np.int32], block: Exact) -> Exact:
        """Return the squared error of each path. Shape: codes (N, K, L), block (N, D); result (N, K)."""
        points = self.decode(codes.reshape(-1, codes.shape[2])).reshape(*codes.shape[:2], -1)
        errors: Exact = ((block[:, None] - points) ** 2).sum(axis=2)
        return errors

    @cached_property
    def _parts(self) -> tuple[tuple[CentroidLevel, ...], FsqLevel | None]:
        last = self.levels[-1]
        centroid_levels = tuple(level for level in self.levels if isinstance(level, CentroidLevel))
        return centroid_levels, last if isinstance(last, FsqLevel) else None

    @cached_property
    def _screen(self) -> Screen | None:
        return Screen.build(*self._parts, self.beam_size)

    def _encode_exact(self, block: Exact) -> npt.NDArray[np.int32]:
        levels, fsq = self._parts
        if not levels and fsq is not None:
            return fsq.choose(block)[:, None]
        codes, residual = encode_exact(levels, self.beam_size, block)
        return codes if fsq is None else np.concatenate([codes, fsq.choose(residual)[:, None]], axis=1)


def _no_paths(block: Exact) -> tuple[npt.NDArray[np.int32], Exact]:
    return np.empty((len(block), 1, 0), dtype=np.int32), block[:, None]


def _require_vectors(vectors: npt.NDArray[np.floating], dim: int) -> None:
    # One pass finds NaN, infinity and large components: comparisons with NaN are false.
    if vectors.ndim == 2 and vectors.shape[1] == dim and np.abs(vectors).max(initial=0.0) < COMPONENT_BOUND:
        return
    require_rows(vectors, dim, "vectors to encode")
    msg = f"vectors to encode: expected length about 1, got a component of {np.abs(vectors).max()}; scale them"
    raise TokenizerError(msg)
