"""Representation vector of an item: the concatenation of a content half and a collaborative half.

The content half is the encoder's vector, centred and projected on its principal axes. The collaborative half of an item
heard in training is stored by item key; for any other item ridge regression predicts it from content, since content
alone clusters poorly. Both halves have unit length before they are weighted, so predicted and known halves are
comparable.

All arithmetic is exact on the grid of `tokenizer/arrays/grid.py`: a vector does not depend on the rest of the batch.

Legend: N items, C content dimensions, A content half, K collaborative half, D = A + K.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import (
    CONTENT_BITS,
    MAX_DIM,
    VECTOR_BITS,
    WEIGHT_BITS,
    Exact,
    require_rows,
    snap,
    unit_rows,
)
from sidestream.tokenizer.arrays.search import find
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.representation.ridge import fit_ridge

# Pseudo-items at the origin: without them the mean of a one-item catalogue is the item, and centring would zero it.
_MEAN_PRIOR_ITEMS = 8
_BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Representation:
    """Maps content vectors to representation vectors; frozen after `fit`.

    Attributes:
        content_mean: Mean of the training items' content. Shape: (C,).
        projection: Principal axes of the centred content. Shape: (C, A).
        ridge: Regression from centred content to the collaborative half, the intercept last. Shape: (C + 1, K).
        keys: Item keys of the items heard in training, ascending. Shape: (M,).
        collaborative: Collaborative halves of these items, in units of 2^-14. Shape: (M, K).
        content_share: Share of the squared length that is the content half's.
    """

    content_mean: Exact
    projection: Exact
    ridge: Exact
    keys: npt.NDArray[np.uint64]
    collaborative: npt.NDArray[np.int16]
    content_share: float

    def __post_init__(self) -> None:
        content_dim, ridge_shape = len(self.content_mean), (len(self.content_mean) + 1, self.ridge.shape[-1])
        shapes = {
            "projection": (self.projection.shape, (content_dim, self.projection.shape[-1])),
            "ridge": (self.ridge.shape, ridge_shape),
            "collaborative": (self.collaborative.shape, (len(self.keys), ridge_shape[1])),
        }
        for name, (got, expected) in shapes.items():
            if got != expected:
                msg = f"representation: {name} has shape {got}, expected {expected}; fit or copy the tokenizer again"
                raise TokenizerError(msg)
        grids = ((self.content_mean, CONTENT_BITS), (self.projection, WEIGHT_BITS), (self.ridge, WEIGHT_BITS))
        if any(np.abs(array).max(initial=0.0) > 1.0 or np.any(array != snap(array, bits)) for array, bits in grids):
            msg = "representation: arrays are not on the grid that makes sums exact; fit or copy the tokenizer again"
            raise TokenizerError(msg)
        if content_dim > MAX_DIM or not self.dim or np.any(self.keys[1:] <= self.keys[:-1]):
            msg = (
                f"representation: needs 1 to {MAX_DIM} content dimensions, a vector dimension above 0 and ascending "
                f"keys; got {content_dim} and {self.dim}; fit or copy the tokenizer again"
            )
            raise TokenizerError(msg)
        for array in (self.content_mean, self.projection, self.ridge, self.keys, self.collaborative):
            array.setflags(write=False)

    @property
    def content_dim(self) -> int:
        """C: dimensions of the content vectors."""
        return len(self.content_mean)

    @property
    def dim(self) -> int:
        """D: dimensions of the representation vectors."""
        return int(self.projection.shape[1] + self.ridge.shape[1])

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All arrays by name, as stored in an artifact and hashed by a version; float32 represents the grid exactly."""
        return {
            "content_mean": self.content_mean.astype(np.float32),
            "projection": self.projection.astype(np.float32),
            "ridge": self.ridge.astype(np.float32),
            "keys": self.keys,
            "collaborative": self.collaborative,
        }

    @classmethod
    def fit(
        cls,
        keys: npt.NDArray[np.uint64],
        content: npt.NDArray[np.float32],
        collaborative: npt.NDArray[np.float32] | None,
        *,
        dim: int = 128,
        collaborative_dim: int = 64,
        content_share: float = 0.5,
    ) -> Self:
        """Fit on a catalogue; an item whose collaborative row is zero counts as not heard.

        Args:
            keys: Distinct item keys.

                Shape: (N,).
            content: The encoder's vectors.

                Shape: (N, C).
            collaborative: Co-occurrence vectors, or None; their first `collaborative_dim` columns are used.

                Shape: (N, at least `collaborative_dim`).
            dim: D. If no item was heard, all dimensions are content.
            collaborative_dim: K, below `dim`.
            content_share: Share of the squared length that is the content half's.

        Returns:
            The representation, including the collaborative halves of heard items.

        Raises:
            TokenizerError: No items, two equal keys, or vectors that are not finite or do not fit.
        """
        if not len(keys) or len(np.unique(keys)) != len(keys):
            msg = f"representation: expected one distinct key an item, got {len(np.unique(keys))} for {len(keys)} items"
            raise TokenizerError(msg)
        unit = unit_rows(require_rows(content, content.shape[-1], "content vectors"), CONTENT_BITS)
        mean = snap(unit.sum(axis=0) / (len(unit) + _MEAN_PRIOR_ITEMS), CONTENT_BITS)
        centred = _centre(unit, mean)
        if collaborative is None or not collaborative_dim or not collaborative.any():
            halves, content_share = np.zeros((len(keys), 0)), 1.0
        else:
            halves = unit_rows(require_rows(collaborative, collaborative.shape[1], "collaborative"), VECTOR_BITS)
            halves = halves[:, :collaborative_dim]
        heard = np.flatnonzero(halves.any(axis=1))
        heard = heard[np.argsort(keys[heard])]
        return cls(
            content_mean=mean,
            projection=_principal_axes(centred, dim - halves.shape[1]),
            ridge=fit_ridge(centred[heard], halves[heard]),
            keys=keys[heard],
            collaborative=np.ldexp(halves[heard], VECTOR_BITS).astype(np.int16),
            content_share=content_share,
        )

    def represent(self, keys: npt.NDArray[np.uint64], content: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Compute representation vectors, bit-identical for every batch, order and machine.

        Args:
            keys: Item key of each item; an item heard in training has its stored collaborative half.

                Shape: (N,).
            content: The encoder's vectors.

                Shape: (N, C).

        Returns:
            Vectors of about unit length, multiples of 2^-14.

            Shape: (N, D).

        Raises:
            TokenizerError: The content vectors are not finite or have a wrong dimension, or keys and rows differ in
                number.
        """
        require_rows(content, self.content_dim, "content vectors")
        if len(keys) != len(content):
            msg = f"expected one key for each content vector, got {len(keys)} keys and {len(content)} vectors"
            raise TokenizerError(msg)
        vectors = np.empty((len(keys), self.dim), dtype=np.float32)
        for start in range(0, len(keys), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            vectors[block] = self._represent_block(keys[block], content[block])
        return vectors

    def _represent_block(self, keys: npt.NDArray[np.uint64], content: npt.NDArray[np.float32]) -> Exact:
        centred = _centre(unit_rows(content, CONTENT_BITS), self.content_mean)
        projected = unit_rows(centred @ self.projection, VECTOR_BITS)
        predicted = centred @ self.ridge[:-1] + self.ridge[-1]
        halves = unit_rows(predicted, VECTOR_BITS)
        found = find(self.keys, keys)
        known = np.flatnonzero(found >= 0)
        halves[known] = np.ldexp(self.collaborative[found[known]].astype(np.float64), -VECTOR_BITS)
        weights = np.sqrt(self.content_share), np.sqrt(1.0 - self.content_share)
        return snap(np.concatenate([projected * weights[0], halves * weights[1]], axis=1), VECTOR_BITS)


def _centre(unit: Exact, mean: Exact) -> Exact:
    # An item without text is placed at the mean: nothing is known of it, and minus the mean would be a direction.
    return np.where(unit.any(axis=1, keepdims=True), unit - mean, 0.0)


def _principal_axes(centred: Exact, num_axes: int) -> Exact:
    # Source: Pearson 1901. eigh returns a full orthonormal basis, so even a tokenizer fitted on a few items can
    # distinguish new ones.
    kept = min(num_axes, centred.shape[1])
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :kept]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(kept)])
    return snap(np.pad(axes, ((0, 0), (0, num_axes - kept))), WEIGHT_BITS)
