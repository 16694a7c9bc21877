"""The search for codes where scores are made from one product of a vector with all levels, and tables.

Greedy and beam search, each for rows in bulk and for one row alone, where the overhead of a call counts more than the
arithmetic. All give the same codes. Beside the codes comes the least gap between what was kept and what was not, as a
multiple of the error bound that the caller gives: below 1, rounding may have decided. Legend: N vectors, K paths,
V codes of a level, T codes of all levels.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.levels.exact import smallest

Scores = npt.NDArray[np.floating]
Places = npt.NDArray[np.intp]


class Tables(NamedTuple):
    """What scores of centroid levels are looked up from.

    Attributes:
        starts: Where each level begins in the products, and the end.
        biases: Biases of the first level; those of the others are in their first table. Shape: (V,).
        tables: By level, then by earlier level: what a code of that adds to the scores of this. Shape: (V', V).
    """

    starts: tuple[int, ...]
    biases: Scores
    tables: tuple[tuple[Scores, ...], ...]


def greedy_rows(known: Tables, products: Scores, bounds: Scores, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Take the least score of each level.

    Args:
        known: Tables.
        products: Vectors times all levels.

            Shape: (N, T).
        bounds: Error bound of a difference of two scores, by level.

            Shape: (N, levels).
        codes: Filled in.

            Shape: (N, levels or more).

    Returns:
        Whether rounding may have decided a code of the row.
    """
    rows, unsure = np.arange(len(products)), np.zeros(len(products), dtype=np.bool_)
    chosen: list[Places] = []
    for level in range(len(known.starts) - 1):
        scores = _look_up(known, products[:, known.starts[level] : known.starts[level + 1]], level, chosen)
        best = scores.argmin(axis=1)
        least = scores[rows, best]
        scores[rows, best] = np.inf
        # argmin and a look-up: three times as fast as min.
        second = scores[rows, scores.argmin(axis=1)]
        unsure |= ~(second - least > bounds[:, level])
        codes[:, level] = best
        chosen.append(best)
    return unsure


def greedy_one(known: Tables, products: Scores, bounds: list[float], codes: list[int]) -> bool:
    """Take the least score of each level, for one vector.

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


def beam_rows(
    known: Tables, beam_size: int, products: Scores, bounds: Scores, codes: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Keep the best paths from level to level, and the best of all at the last.

    Args:
        known: Tables.
        beam_size: Paths kept.
        products: Vectors times all levels.

            Shape: (N, T).
        bounds: Error bound of a difference of two sums of scores, by level.

            Shape: (N, levels).
        codes: Filled in.

            Shape: (N, levels or more).

    Returns:
        Whether rounding may have decided which paths of the row were kept.
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
        # What was found is infinite now, so this is the best of the rest.
        rest = flat[rows, flat.argmin(axis=1)]
        unsure |= ~(rest - costs[:, -1] > bounds[:, level])
        parents, chosen = np.divmod(found, scores.shape[2])
        paths = [*(path[rows[:, None], parents] for path in paths), chosen]
    for level, path in enumerate(paths):
        codes[:, level] = path[:, 0]
    return unsure


def beam_one(known: Tables, beam_size: int, products: Scores, bounds: list[float], codes: list[int]) -> bool:
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
        # Rows are paths: what the vector says, what each path cost so far, what each of its codes takes off.
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
