"""Fast encoding with exact results: float32 with error bounds, repeated in float64 only where float32 is undecided.

The products of a vector with all levels are one matrix product; the contribution of earlier centroids is looked up in
tables of products between levels, so no residual is computed. The error of a matrix product is bounded whatever its
order of addition. A row in which two paths are closer than that bound is repeated in float64, where on the grid no sum
is ever rounded. So the codes are those of exact arithmetic (`exact.py`), at little more than the cost of float32.

Greedy and beam search exist for rows in bulk and for a single row, where the overhead of calls outweighs the
arithmetic. All give the same codes, and say whether the gap between what was kept and what was not is within the error
bound, so that rounding may have decided.

Legend: N vectors, D dimensions, K paths, V codes of a level, T codes of all levels, B axes of an FSQ level.

Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1 (|error| <= D u |x||y| for any order
of D sums, with u = 2^-24); tables of products as in Babenko, Lempitsky 2014, "Additive Quantization", section 3.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import Exact
from sidestream.tokenizer.levels.exact import smallest
from sidestream.tokenizer.levels.kinds import CentroidLevel, FsqLevel, bit_codes

Scores = npt.NDArray[np.floating]
Places = npt.NDArray[np.intp]

_UNIT_ROUNDOFF = 2.0**-24
# Covers second-order terms and the rounding of the bound itself.
_SAFETY = 1.05
# Tables of 64 MB; larger codebooks are encoded without them.
_MAX_TABLE_NUMBERS = 1 << 24
# A single vector is multiplied in parts of this many components, added up afterwards: the bound of one sum of 768 terms
# is five times as wide, and with it a beam of 5 over four levels was undecided for every fourth vector.
_PART_WIDTH = 128
# Scores of all paths of a block fit in the cache.
_BLOCK_NUMBERS = 1 << 18


class Tables(NamedTuple):
    """Look-up tables for scores of centroid levels.

    Attributes:
        starts: Start of each level in the products, and the end of the last.
        biases: Biases of the first level; those of the others are included in their first table. Shape: (V,).
        tables: By level, then by earlier level: the term that an earlier code adds to the scores. Shape: (V', V).
    """

    starts: tuple[int, ...]
    biases: Scores
    tables: tuple[tuple[Scores, ...], ...]


@dataclass(frozen=True, eq=False)
class Screen:
    """Tables of a quantizer, with the float32 error bound of each level's scores.

    Attributes:
        directions: Minus twice the centroids of all levels, then the axes of an FSQ level. Shape: (T, D).
        known: Tables of the centroid levels.
        axis_tables: By earlier level: the term that a code adds to the coordinates on the axes. Shape: (V, B).
        thresholds: Thresholds of the FSQ level; empty without one. Shape: (B,).
        lengths: Length of the longest direction of each level, summed over the levels so far with a beam.
            Shape: (levels,).
        intercepts: Part of the bound that does not depend on the vector, by level. Shape: (levels,).
        beam_size: Paths kept from level to level.
    """

    directions: Exact
    known: Tables
    axis_tables: tuple[Exact, ...]
    thresholds: Exact
    lengths: Exact
    intercepts: Exact
    beam_size: int

    @classmethod
    def build(cls, levels: tuple[CentroidLevel, ...], fsq: FsqLevel | None, beam_size: int) -> Self | None:
        """Compute the tables.

        Args:
            levels: Levels with centroids, first level first.
            fsq: The last level if it is of that kind.
            beam_size: Paths kept from level to level.

        Returns:
            The tables; None if there is no centroid level, or they would be larger than 64 MB.
        """
        sizes = [level.size for level in levels]
        axes = fsq.axes if fsq is not None else np.zeros((0, levels[0].dim if levels else 0))
        if not levels or sum(size * sum(sizes[:number]) for number, size in enumerate(sizes)) > _MAX_TABLE_NUMBERS:
            return None
        tables = [
            [2.0 * (before.centroids @ level.couplings.T) for before in levels[:n]] for n, level in enumerate(levels)
        ]
        axis_tables = tuple(-(level.centroids @ axes.T) for level in levels)
        thresholds = fsq.thresholds if fsq is not None else np.zeros(0)
        blocks = [-2.0 * level.centroids for level in levels]
        lengths = [_longest(block) for block in [*blocks, axes]]
        terms = [_largest(level.biases) + sum(map(_largest, row)) for level, row in zip(levels, tables, strict=True)]
        terms.append(_largest(thresholds) + sum(map(_largest, axis_tables)))
        if beam_size > 1:
            # Sums over the levels so far are compared, so their errors add up; axes are compared one by one.
            lengths[:-1], terms[:-1] = np.cumsum(lengths[:-1]).tolist(), np.cumsum(terms[:-1]).tolist()
        for level, row in zip(levels[1:], tables[1:], strict=True):
            row[0] += level.biases
        return cls(
            directions=np.concatenate([*blocks, axes]),
            known=Tables((0, *np.cumsum(sizes).tolist()), levels[0].biases, tuple(map(tuple, tables))),
            axis_tables=axis_tables,
            thresholds=thresholds,
            lengths=np.array(lengths),
            intercepts=_error_of(0, len(levels)) * np.array(terms),
            beam_size=beam_size,
        )

    def encode(self, vectors: Scores) -> npt.NDArray[np.int32]:
        """Encode vectors; the codes are those of exact arithmetic.

        Args:
            vectors: On the 14-bit grid, below 2.

                Shape: (N, D).

        Returns:
            Codes, first level first.

            Shape: (N, L).
        """
        if len(vectors) == 1:
            return np.array([self.encode_one(vectors[0].astype(np.float32, copy=False))], dtype=np.int32)
        codes, unsure = self._encode_rows(self._singles, vectors.astype(np.float32, copy=False))
        if unsure.any():
            codes[unsure] = self._encode_rows(self, vectors[unsure].astype(np.float64))[0]
        return codes

    def encode_one(self, vector: npt.NDArray[np.float32]) -> list[int]:
        """Encode one vector.

        Args:
            vector: On the 14-bit grid, below 2.

                Shape: (D,).

        Returns:
            Codes, first level first.
        """
        codes, unsure = self._encode_one(self._singles, vector)
        return self._encode_one(self, vector.astype(np.float64))[0] if unsure else codes

    @cached_property
    def _singles(self) -> "Screen":
        def single(array: Scores) -> npt.NDArray[np.float32]:
            return np.ascontiguousarray(array, dtype=np.float32)

        tables = tuple(tuple(map(single, row)) for row in self.known.tables)
        known = Tables(self.known.starts, single(self.known.biases), tables)
        parts = (single(self.directions), known, tuple(map(single, self.axis_tables)), single(self.thresholds))
        return Screen(*parts, self.lengths, self.intercepts, self.beam_size)  # type: ignore[arg-type]  # narrower floats

    @cached_property
    def _parts(self) -> Scores:
        count = max(1, self.directions.shape[1] // _PART_WIDTH if self.directions.shape[1] % _PART_WIDTH == 0 else 1)
        return np.ascontiguousarray(np.stack(np.split(self.directions, count, axis=1)))

    @cached_property
    def _bounds(self) -> list[tuple[float, float]]:
        count, _, width = self._parts.shape
        slopes = _error_of(width + count, len(self.known.starts) - 1) * self.lengths
        return list(zip(slopes.tolist(), self.intercepts.tolist(), strict=True))

    def _encode_one(self, at: "Screen", vector: Scores) -> tuple[list[int], bool]:
        parts = at._parts
        products = (parts @ vector.reshape(len(parts), -1, 1)).sum(axis=0)[:, 0]
        length = float(vector @ vector) ** 0.5
        bounds = [slope * length + intercept for slope, intercept in at._bounds]
        end = at.known.starts[-1]
        codes: list[int] = []
        if self.beam_size == 1:
            unsure = _greedy_one(at.known, products, bounds[:-1], codes)
        else:
            unsure = _beam_one(at.known, self.beam_size, products, bounds[:-1], codes)
        if len(at.thresholds):
            places = products[end:].copy()
            for table, code in zip(at.axis_tables, codes, strict=True):
                places += table[code]
            unsure |= bool((np.abs(places - at.thresholds) <= bounds[-1]).any())
            codes.append(int(bit_codes(places > at.thresholds)))
        return codes, unsure

    def _encode_rows(self, at: "Screen", vectors: Scores) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        num_levels = len(at.known.starts) - 1
        codes = np.empty((len(vectors), num_levels + bool(len(at.thresholds))), dtype=np.int32)
        unsure = np.empty(len(vectors), dtype=np.bool_)
        products = vectors @ at.directions.T
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        slopes = _error_of(vectors.shape[1], num_levels) * self.lengths
        bounds = lengths[:, None] * slopes + self.intercepts
        step = len(vectors) if self.beam_size == 1 else max(1, _BLOCK_NUMBERS // (products.shape[1] * self.beam_size))
        for start in range(0, len(vectors), step):
            block = slice(start, start + step)
            if self.beam_size == 1:
                unsure[block] = _greedy_rows(at.known, products[block], bounds[block], codes[block])
            else:
                unsure[block] = _beam_rows(at.known, self.beam_size, products[block], bounds[block], codes[block])
        if len(at.thresholds):
            places = products[:, at.known.starts[-1] :]
            for table, column in zip(at.axis_tables, codes.T, strict=False):
                places += table.take(column, axis=0)
            unsure |= (np.abs(places - at.thresholds) <= bounds[:, -1:]).any(axis=1)
            codes[:, -1] = bit_codes(places > at.thresholds)
        return codes, unsure


def _greedy_rows(
    known: Tables, products: Scores, bounds: Scores, codes: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Choose the least score of each level.

    Args:
        known: Tables.
        products: Vectors times all levels.

            Shape: (N, T).
        bounds: Error bound of a difference of two scores, by level.

            Shape: (N, levels).
        codes: Output.

            Shape: (N, levels or more).

    Returns:
        Rows in which rounding may have decided a code.
    """
    rows, unsure = np.arange(len(products)), np.zeros(len(products), dtype=np.bool_)
    chosen: list[Places] = []
    for level in range(len(known.starts) - 1):
        scores = _look_up(known, products[:, known.starts[level] : known.starts[level + 1]], level, chosen)
        best = scores.argmin(axis=1)
        least = scores[rows, best]
        scores[rows, best] = np.inf
        # argmin and indexing: three times as fast as min.
        second = scores[rows, scores.argmin(axis=1)]
        unsure |= ~(second - least > bounds[:, level])
        codes[:, level] = best
        chosen.append(best)
    return unsure


def _greedy_one(known: Tables, products: Scores, bounds: list[float], codes: list[int]) -> bool:
    """Choose the least score of each level, for one vector.

    Args:
        known: Tables.
        products: The vector times all levels.

            Shape: (T,).
        bounds: Error bound of a difference of two scores, by level.
        codes: Appended to.

    Returns:
        Whether rounding may have decided a code.
    """
    unsure = False
    for level, bound in enumerate(bounds):
        own = products[known.starts[level] : known.starts[level + 1]]
        scores = own + (known.tables[level][0][codes[0]] if level else known.biases)
        for table, code in zip(known.tables[level][1:], codes[1:], strict=False):
            scores += table[code]
        best = int(scores.argmin())
        least = scores.item(best)
        scores[best] = np.inf
        unsure |= not scores.item(scores.argmin()) - least > bound
        codes.append(best)
    return unsure


def _beam_rows(
    known: Tables, beam_size: int, products: Scores, bounds: Scores, codes: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Keep the best paths from level to level, and the single best one at the last.

    Args:
        known: Tables.
        beam_size: Paths kept.
        products: Vectors times all levels.

            Shape: (N, T).
        bounds: Error bound of a difference of two sums of scores, by level.

            Shape: (N, levels).
        codes: Output.

            Shape: (N, levels or more).

    Returns:
        Rows in which rounding may have decided which paths were kept.
    """
    rows, unsure = np.arange(len(products)), np.zeros(len(products), dtype=np.bool_)
    num_levels = len(known.starts) - 1
    paths: list[Places] = []
    costs: Scores = np.zeros((len(products), 1), dtype=products.dtype)
    for level in range(num_levels):
        scores = _look_up(known, products[:, None, known.starts[level] : known.starts[level + 1]], level, paths)
        scores += costs[:, :, None]
        flat = scores.reshape(len(products), -1)
        kept = 1 if level == num_levels - 1 else min(beam_size, flat.shape[1])
        found, costs = smallest(flat, kept)
        # The values found have been overwritten with infinity, so this is the best of the rest.
        rest = flat[rows, flat.argmin(axis=1)]
        unsure |= ~(rest - costs[:, -1] > bounds[:, level])
        parents, chosen = np.divmod(found, scores.shape[2])
        paths = [*(path[rows[:, None], parents] for path in paths), chosen]
    for level, path in enumerate(paths):
        codes[:, level] = path[:, 0]
    return unsure


def _beam_one(known: Tables, beam_size: int, products: Scores, bounds: list[float], codes: list[int]) -> bool:
    """Keep the best paths from level to level, for one vector.

    Args:
        known: Tables.
        beam_size: Paths kept.
        products: The vector times all levels.

            Shape: (T,).
        bounds: Error bound of a difference of two sums of scores, by level.
        codes: Appended to.

    Returns:
        Whether rounding may have decided which paths were kept.
    """
    unsure, columns, costs = False, list[list[int]](), np.zeros((1, 1), dtype=products.dtype)
    for level, bound in enumerate(bounds):
        own = products[known.starts[level] : known.starts[level + 1]]
        # Rows are paths: the vector's products, the cost of each path so far, and the terms of its codes.
        scores = own + costs if level else (own + known.biases)[None]
        for table, column in zip(known.tables[level], columns, strict=True):
            scores += table.take(column, axis=0)
        flat, size = scores.ravel(), scores.shape[1]
        kept = 1 if level == len(bounds) - 1 else min(beam_size, len(flat))
        found, values = [], []
        for _ in range(kept):
            best = int(flat.argmin())
            found.append(best)
            values.append(flat.item(best))
            flat[best] = np.inf
        unsure |= not flat.item(flat.argmin()) - values[-1] > bound
        parents = [place // size for place in found]
        columns = [[column[parent] for parent in parents] for column in columns]
        columns.append([place % size for place in found])
        costs = np.array(values, dtype=products.dtype)[:, None]
    codes.extend(column[0] for column in columns)
    return unsure


def _look_up(known: Tables, own: Scores, level: int, codes_of: list[Places]) -> Scores:
    if not level:
        return own + known.biases
    scores: Scores = known.tables[level][0].take(codes_of[0], axis=0)
    for table, codes in zip(known.tables[level][1:], codes_of[1:], strict=True):
        scores += table.take(codes, axis=0)
    scores += own
    return scores


def _error_of(num_terms: int, num_levels: int) -> float:
    # A score adds at most L numbers to a product, a path's cost L scores, each rounded once; twice, for a difference.
    return 2.0 * _SAFETY * _UNIT_ROUNDOFF * (num_terms + 2 * num_levels + 4)


def _longest(rows: Exact) -> float:
    return float(np.sqrt((rows * rows).sum(axis=1).max(initial=0.0)))


def _largest(numbers: Exact) -> float:
    return float(np.abs(numbers).max(initial=0.0))
