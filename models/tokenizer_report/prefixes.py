"""Tree of SID prefixes, with the items nearest to the centre of each prefix."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidestream.models.tokenizer_report.gather import ReportItems

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum number of branches below a prefix, and of items of a leaf; limits the size of the page."""

    branches: tuple[int, ...] = (64, 6)
    examples: int = 3
    items: int = 4


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix of SIDs.

    Attributes:
        codes: The codes.
        num_items: Number of items below it.
        examples: Rows of the items nearest to its centre.
        branches: Its largest branches; empty at the leaves.
        num_branches: Number of all branches.
    """

    codes: tuple[int, ...]
    num_items: int
    examples: tuple[int, ...]
    branches: tuple["Prefix", ...]
    num_branches: int


def prefix_tree(items: ReportItems, limits: Limits | None = None) -> Prefix:
    """Build the tree, largest branches first.

    Args:
        items: The catalogue.
        limits: Limits of what is shown.

    Returns:
        The root, which is the empty prefix.
    """
    return _grow(items, np.arange(len(items.codes)), (), limits or Limits())


def items_near_prefix(items: ReportItems, prefix: tuple[int, ...], rows: Rows, count: int) -> list[int]:
    """Find the items nearest to the decoded prefix.

    Args:
        items: The catalogue.
        prefix: At least one code.
        rows: Items to choose from.

            Shape: (any,).
        count: Maximum number of items.

    Returns:
        Rows, nearest first.
    """
    middle = items.levels.decode(np.array([prefix], dtype=np.int32))[0]
    far = np.linalg.norm(items.vectors[rows] - middle, axis=1)
    return [int(row) for row in rows[np.argsort(far, kind="stable")[:count]]]


def _grow(items: ReportItems, rows: Rows, codes: tuple[int, ...], limits: Limits) -> Prefix:
    depth = len(codes)
    inner = depth < min(len(limits.branches), items.codes.shape[1] - 1)
    examples = items_near_prefix(items, codes, rows, limits.examples if inner else limits.items) if codes else []
    if not inner:
        return Prefix(codes, len(rows), tuple(examples), (), 0)
    found = sorted(_branches(items, rows, depth), key=lambda branch: (-len(branch[1]), branch[0]))
    kept = found[: limits.branches[depth]]
    branches = tuple(_grow(items, below, (*codes, code), limits) for code, below in kept)
    return Prefix(codes, len(rows), tuple(examples), branches, len(found))


def _branches(items: ReportItems, rows: Rows, depth: int) -> Iterator[tuple[int, Rows]]:
    column = items.codes[rows, depth]
    order = np.argsort(column, kind="stable")
    codes, starts = np.unique(column[order], return_index=True)
    yield from zip(codes.tolist(), np.split(rows[order], starts[1:]), strict=True)
