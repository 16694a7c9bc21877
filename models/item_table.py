"""Item table of a model: learned item vectors, training counts, and the prediction for all other items.

The item vector is `v = sum_l E_l[c_l] + u`. For an item of the training data `u` was learned; for any other it is
predicted from the tokenizer's representation vector x by ridge regression, so a new item has a meaningful vector before
its first listen. The weight of an item is `sqrt(count + 1)`, count = its listens in training.

An item's vector is bit-identical alone and in a batch of a million: sums are computed by `np.einsum`, column by column
for each item separately, never by a matrix product, whose order of summation depends on the number of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.search import find
from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.representation.ridge import fit_weighted_ridge
from sidestream.tokenizer.sid import item_keys

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]

_FILES = ("keys", "vectors", "counts", "code_embedding", "ridge")
# Items predicted at a time: limits the float copies to a few MB.
_CHUNK = 8192


@dataclass(frozen=True, eq=False, slots=True)
class ItemTable:
    """Computes the item vectors that the engine scores.

    Shape legend: n known items, d d_model, q dimensions of x, K sum of the codebook sizes.

    Attributes:
        codebook_sizes: Codes per level.
        keys: Item keys, strictly ascending. Shape: (n,).
        vectors: Learned u. Shape: (n, d), float16.
        counts: Listens in training. Shape: (n,).
        code_embedding: E of all levels, stacked. Shape: (K, d).
        ridge: Regression from x to u, the intercept last. Shape: (q + 1, d).
    """

    codebook_sizes: tuple[int, ...]
    keys: npt.NDArray[np.uint64]
    vectors: npt.NDArray[np.float16]
    counts: Int32Array
    code_embedding: Float32Array
    ridge: Float32Array

    def __post_init__(self) -> None:
        n, d = self.vectors.shape if self.vectors.ndim == 2 else (-1, -1)
        checks = {
            "keys": self.keys.shape == (n,) and bool((self.keys[1:] > self.keys[:-1]).all()),
            "vectors": n >= 0 and bool(np.isfinite(self.vectors).all()),
            "counts": self.counts.shape == (n,) and bool((self.counts >= 0).all()),
            "code_embedding": self.code_embedding.shape == (sum(self.codebook_sizes), d),
            "ridge": self.ridge.ndim == 2 and self.ridge.shape[1] == d and len(self.ridge) >= 1,
        }
        if wrong := [name for name, good in checks.items() if not good]:
            shapes = {name: getattr(self, name).shape for name in _FILES}
            msg = f"item table: {wrong[0]} does not fit the others (keys ascending, finite vectors); shapes {shapes}"
            raise ArtifactError(msg)

    @classmethod
    def fit(
        cls,
        item_ids: Sequence[str],
        u: Float32Array,
        counts: Int32Array,
        code_embedding: Float32Array,
        codebook_sizes: Sequence[int],
        x: Float32Array,
        *,
        l2: float = 0.1,
    ) -> "ItemTable":
        """Store the learned vectors, and fit the prediction of u from x.

        Args:
            item_ids: The catalogue's items; vectors of items with a count of 0 are predicted.
            u: Learned vectors. Shape: (items, d).
            counts: Listens in training. Shape: (items,).
            code_embedding: E of all levels, stacked. Shape: (K, d).
            codebook_sizes: Codes per level.
            x: Representation vectors. Shape: (items, q).
            l2: Ridge penalty as a share of the mean variance of x (times the weight of all items).

        Returns:
            The table.
        """
        counts = np.asarray(counts, dtype=np.int32)
        known = np.flatnonzero(counts > 0)
        keys = item_keys([item_ids[i] for i in known.tolist()])
        order = np.argsort(keys)
        known = known[order]
        return cls(
            tuple(int(size) for size in codebook_sizes),
            keys[order],
            np.asarray(u, dtype=np.float32)[known].astype(np.float16),
            counts[known],
            np.ascontiguousarray(code_embedding, dtype=np.float32),
            fit_weighted_ridge(x[known], u[known], np.sqrt(counts[known] + 1.0), l2),
        )

    @property
    def d_model(self) -> int:
        """Width of item vectors."""
        return int(self.code_embedding.shape[1])

    @property
    def x_dim(self) -> int:
        """Width of the representation vectors that the prediction reads."""
        return len(self.ridge) - 1

    def vectorize(
        self, item_ids: Sequence[str], codes: Int32Array, x: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Compute item vectors and weights.

        Args:
            item_ids: Items.
            codes: SIDs of the items. Shape: (items, L).
            x: Representation vectors of the items. Shape: (items, q).

        Returns:
            Vectors v and weights. Shape: (items, d) and (items,).

        Raises:
            ArtifactError: Codes or vectors do not fit this table.
        """
        codes, x = np.asarray(codes), np.asarray(x, dtype=np.float32)
        self._check(len(item_ids), codes, x)
        place = find(self.keys, item_keys(item_ids))
        known = place >= 0
        v = np.empty((len(item_ids), self.d_model), dtype=np.float32)
        v[known] = self.vectors[place[known]]
        for first in range(0, len(item_ids), _CHUNK):
            new = first + np.flatnonzero(~known[first : first + _CHUNK])
            v[new] = self._predict(x[new])
        first_rows = np.cumsum((0, *self.codebook_sizes[:-1]))
        for level, first_row in enumerate(first_rows.tolist()):
            v += self.code_embedding[first_row + codes[:, level]]
        counts = np.zeros(len(item_ids), dtype=np.float32)
        counts[known] = self.counts[place[known]]
        return v, np.sqrt(counts + 1.0, dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the arrays as `.npy` files to a folder, which is created if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, codebook_sizes: Sequence[int]) -> "ItemTable":
        """Read the arrays; nothing is unpickled.

        Args:
            folder: Folder written by `save`.
            codebook_sizes: Codes per level.

        Returns:
            The table.

        Raises:
            ArtifactError: A file is missing, unreadable or does not fit the others.
        """
        arrays = {}
        for name in _FILES:
            path = folder / f"{name}.npy"
            try:
                arrays[name] = np.load(path, allow_pickle=False)
            except (OSError, ValueError) as error:
                msg = f"{path} is not a readable array ({error}); copy the model artifact again or export it again"
                raise ArtifactError(msg) from error
        return cls(tuple(codebook_sizes), **arrays)

    def _predict(self, x: Float32Array) -> Float32Array:
        # Takes a sixth of the time of one pass per column over all items: an item's sums stay in the first-level cache.
        u: Float32Array = np.einsum("nq,qd->nd", np.ascontiguousarray(x), self.ridge[:-1])
        u += self.ridge[-1]
        return u

    def _check(self, num_items: int, codes: npt.NDArray[np.integer], x: Float32Array) -> None:
        sizes = np.array(self.codebook_sizes)
        if codes.shape != (num_items, len(sizes)) or (codes.size and not ((codes >= 0) & (codes < sizes)).all()):
            msg = (
                f"item table: expected codes ({num_items}, {len(sizes)}) below {self.codebook_sizes}, got {codes.shape}"
            )
            raise ArtifactError(msg)
        if x.shape != (num_items, self.x_dim):
            msg = (
                f"item table: expected representation vectors ({num_items}, {self.x_dim}), got {x.shape}; "
                "the model artifact belongs to another tokenizer"
            )
            raise ArtifactError(msg)
