"""Fusion of an item's views into one content vector: centred, weighted and concatenated.

A missing view is zeros, and the weights of the others are scaled up until their squares add to one again, so an item
without a transcript has the same length as one with it. Since the blocks are concatenated, the similarity of two items
is the sum of the similarities of their views, weighted by the squares: the learned weights are fitted to that.

Legend: N items, V views, C = dimensions of all views together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import CONTENT_BITS, WEIGHT_BITS, Exact, Floats, snap
from sidestream.tokenizer.errors import TokenizerError

# As in the representation: without pseudo-items at the origin, centring would zero a catalogue of one item.
_MEAN_PRIOR_ITEMS = 8
_ROUNDS = 500


@dataclass(frozen=True, slots=True, eq=False)
class Fusion:
    """Maps an item's views to its content vector; frozen after the fit.

    Attributes:
        names: The views, in order.
        means: Mean of each view's rows. Shape: V times (dimensions of the view,).
        weights: Weight of each view, squares adding to one. Shape: (V,).
    """

    names: tuple[str, ...]
    means: tuple[Exact, ...]
    weights: Exact

    def __post_init__(self) -> None:
        """Check that the parts fit each other, and are on the grid that makes fusion exact."""
        fits = len(self.names) == len(set(self.names)) == len(self.means) == len(self.weights) > 0
        grids = [(mean, CONTENT_BITS) for mean in self.means] + [(self.weights, WEIGHT_BITS)]
        if not fits or any(part.ndim != 1 or np.any(part != snap(part, bits)) for part, bits in grids):
            msg = (
                f"fusion: expected a mean and a weight for each of {list(self.names)}, on their grids, got "
                f"{len(self.means)} means and {len(self.weights)} weights; fit or copy the tokenizer again"
            )
            raise TokenizerError(msg)
        if np.any(self.weights < 0) or not self.weights.any():
            msg = f"fusion: expected weights from 0, one above it, got {self.weights.tolist()}; fit the tokenizer again"
            raise TokenizerError(msg)
        for part in (*self.means, self.weights):
            part.setflags(write=False)

    @property
    def dims(self) -> dict[str, int]:
        """Dimensions by view."""
        return {name: len(mean) for name, mean in zip(self.names, self.means, strict=True)}

    @property
    def dim(self) -> int:
        """C: dimensions of the content vectors."""
        return sum(len(mean) for mean in self.means)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All arrays by name, as the artifact stores them and the version hashes them."""
        means = {f"view_mean_{number}": mean.astype(np.float32) for number, mean in enumerate(self.means)}
        return {"view_weights": self.weights.astype(np.float32), **means}

    @classmethod
    def from_arrays(cls, names: Sequence[str], arrays: Mapping[str, npt.NDArray[np.generic]]) -> Self:
        """Build a fusion from the arrays that `arrays` returned.

        Args:
            names: The views, in order.
            arrays: All arrays by name.

        Returns:
            The fusion.

        Raises:
            KeyError: An array is missing.
            TokenizerError: The arrays do not fit each other.
        """
        means = tuple(arrays[f"view_mean_{number}"].astype(np.float64) for number in range(len(names)))
        return cls(tuple(names), means, arrays["view_weights"].astype(np.float64))

    def fuse(self, blocks: Sequence[Exact]) -> npt.NDArray[np.float32]:
        """Compute content vectors.

        Args:
            blocks: Rows of each view, from `read_views`.

                Shape: V times (N, dimensions of the view).

        Returns:
            One row per item, on the 16-bit grid; zeros for an item without any view.

            Shape: (N, C).
        """
        present = np.stack([block.any(axis=1) for block in blocks], axis=1)
        # Squares of 20-bit numbers and their sum are exact; root, division and rounding are applied per element.
        lengths = np.sqrt((present * self.weights**2).sum(axis=1, keepdims=True))
        shares = np.divide(present * self.weights, lengths, out=np.zeros(present.shape), where=lengths > 0)
        fused = [
            np.where(present[:, view, None], block - mean, 0.0) * shares[:, view, None]
            for view, (block, mean) in enumerate(zip(blocks, self.means, strict=True))
        ]
        return snap(np.concatenate(fused, axis=1), CONTENT_BITS).astype(np.float32)


def fit_fusion(
    names: Sequence[str], blocks: Sequence[Exact], weights: Sequence[float], collaborative: Floats | None
) -> Fusion:
    """Fit means, and weights unless they are given.

    Args:
        names: The views, in order.
        blocks: Rows of each view for the training items, from `read_views`.

            Shape: V times (N, dimensions of the view).
        weights: Weight of each view; empty: learned from `collaborative`.
        collaborative: Collaborative vector of each item, zeros where unknown.

            Shape: (N, K).

    Returns:
        The fusion.

    Raises:
        TokenizerError: Weights and views differ in number, or no weight is above zero.
    """
    if weights and len(weights) != len(names):
        msg = f"views: expected a weight for each of {list(names)}, got {list(weights)}; check tokenizer.view_weights"
        raise TokenizerError(msg)
    counts = [block.any(axis=1).sum() + _MEAN_PRIOR_ITEMS for block in blocks]
    means = [snap(block.sum(axis=0) / count, CONTENT_BITS) for block, count in zip(blocks, counts, strict=True)]
    if weights:
        raw = np.asarray(weights, dtype=np.float64)
    else:
        centred = [
            np.where(block.any(axis=1, keepdims=True), block - mean, 0.0)
            for block, mean in zip(blocks, means, strict=True)
        ]
        raw = learned_weights(centred, collaborative)
    length = float(np.sqrt((raw**2).sum()))
    if not np.isfinite(length) or length <= 0 or np.any(raw < 0):
        msg = f"views: expected finite weights from 0, one above it, got {raw.tolist()}; check tokenizer.view_weights"
        raise TokenizerError(msg)
    return Fusion(tuple(names), tuple(means), snap(raw / length, WEIGHT_BITS))


def learned_weights(centred: Sequence[Exact], collaborative: Floats | None) -> Exact:
    """Learn view weights such that items similar in content are those heard by the same listeners.

    Minimizes the distance of the weighted sum of the views' similarity matrices to that of the listens, with
    non-negative weights.

    Source: Cortes, Mohri, Rostamizadeh 2012, "Algorithms for Learning Kernels Based on Centered Alignment", section 4;
    the Frobenius products of linear kernels are squared norms of small matrices, so no N x N matrix is made.

    Args:
        centred: Centred rows of each view, zeros where an item lacks it.

            Shape: V times (N, dimensions of the view).
        collaborative: Collaborative vector of each item, zeros where unknown.

            Shape: (N, K).

    Returns:
        Weight of each view, the root of its similarity's share; all equal if no item was heard, or nothing fits.

        Shape: (V,).
    """
    alike = np.ones(len(centred))
    if collaborative is None or not collaborative.any():
        return alike
    heard = collaborative.any(axis=1)
    target = collaborative[heard].astype(np.float64)
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    target -= target.mean(axis=0)
    rows = [block[heard] - block[heard].mean(axis=0) for block in centred]
    wanted = np.array([((block.T @ target) ** 2).sum() for block in rows])
    shared = np.array([[((one.T @ other) ** 2).sum() for other in rows] for one in rows])
    shares = np.zeros(len(rows))
    for _ in range(_ROUNDS):
        # Coordinate descent: one view at a time has a closed form; V is small, and the problem convex.
        for view in np.flatnonzero(shared.diagonal() > 0):
            rest = wanted[view] - shared[view] @ shares + shared[view, view] * shares[view]
            shares[view] = max(0.0, rest / shared[view, view])
    return np.sqrt(shares) if shares.any() else alike
