"""Encoding of single items, level by level: the chosen code, the residual, and the next best codes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidestream.models.errors import DataError
from sidestream.models.tokenizer_report.gather import ReportItems
from sidestream.tokenizer.levels import CentroidLevel

_RUNNERS_UP = 3
_NEIGHBOURS = 3


@dataclass(frozen=True, slots=True)
class LevelStep:
    """One level.

    Attributes:
        code: The chosen code.
        before: Norm of the residual before the level.
        after: Norm of the residual after the level.
        others: The next best codes, and the residual of each; empty for levels without a search.
        neighbours: Rows of the other items with this prefix, nearest to the item first.
        num_items: Number of items with this prefix, including this one.
    """

    code: int
    before: float
    after: float
    others: tuple[tuple[int, float], ...]
    neighbours: tuple[int, ...]
    num_items: int


@dataclass(frozen=True, slots=True)
class Story:
    """One item and why it is shown."""

    row: int
    why: str
    steps: tuple[LevelStep, ...]


def stories(items: ReportItems, asked: list[str]) -> list[Story]:
    """Describe the encoding of the given items, or of the latest, a typical and the worst fitting item.

    Args:
        items: The catalogue.
        asked: Item ids.

    Returns:
        One story per item.

    Raises:
        DataError: A given item is not in the log.
    """
    place = {item_id: row for row, item_id in enumerate(items.item_ids)}
    if unknown := [item_id for item_id in asked if item_id not in place]:
        msg = f"--item: expected items of the log, got {', '.join(unknown)}; ids are those of its catalog.jsonl"
        raise DataError(msg)
    chosen = {place[item_id]: "requested" for item_id in asked}
    if not chosen:
        left = items.norms[:, -1]
        chosen = {len(left) - 1: "the latest arrival"}
        chosen.setdefault(int(np.argsort(left, kind="stable")[len(left) // 2]), "a typical one: half fit better")
        chosen.setdefault(int(left.argmax()), "fits worst: largest residual")
    return [Story(row, why, _steps(items, row)) for row, why in chosen.items()]


def _steps(items: ReportItems, row: int) -> tuple[LevelStep, ...]:
    vector, sid = items.vectors[row : row + 1], items.codes[row]
    residual = vector.copy()
    together = np.arange(len(items.codes))
    steps: list[LevelStep] = []
    for number, level in enumerate(items.levels.levels):
        code = int(sid[number])
        others = _others(level, residual, vector, code) if isinstance(level, CentroidLevel) else ()
        before = float(np.linalg.norm(residual))
        residual = residual - level.decode(sid[number : number + 1])
        together = together[items.codes[together, number] == code]
        mates = together[together != row]
        far = np.linalg.norm(items.vectors[mates] - vector, axis=1)
        neighbours = tuple(int(mate) for mate in mates[np.argsort(far, kind="stable")[:_NEIGHBOURS]])
        steps.append(LevelStep(code, before, float(np.linalg.norm(residual)), others, neighbours, len(together)))
    return tuple(steps)


def _others(
    level: CentroidLevel, residual: npt.NDArray[np.float64], vector: npt.NDArray[np.float64], code: int
) -> tuple[tuple[int, float], ...]:
    ranked = np.argsort(level.scores(residual, vector)[0], kind="stable")[: _RUNNERS_UP + 1]
    return tuple(
        (int(other), float(np.linalg.norm(residual[0] - level.centroids[other]))) for other in ranked if other != code
    )[:_RUNNERS_UP]
