"""Model inputs from a listener's history.

Training, evaluation, replay and serving all call `features`, so there is no second implementation that could diverge.
It needs only numpy, and depends only on its arguments.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]

UNKNOWN = -1


class HistoryArrays(Protocol):
    """Interface of a history: `sidestream.models.history.view.HistoryView`, or the items of a training sequence."""

    @property
    def rows(self) -> Int32Array:
        """Rows of the item store, -1 for an item that is no longer in the catalogue; oldest first.

        Shape: (num_listens,).
        """
        ...

    @property
    def codes(self) -> Int32Array:
        """SIDs, -1 where unknown.

        Shape: (num_listens, num_levels).
        """
        ...


@dataclass(frozen=True, slots=True)
class ItemHistory:
    """A history given as arrays, without stored state: for training and evaluation.

    Args:
        rows: Items, oldest first. Shape: (num_listens,).
        codes: SIDs of the items. Shape: (num_listens, num_levels).
    """

    rows: Int32Array
    codes: Int32Array


@dataclass(frozen=True, slots=True)
class Features:
    """Inputs of the encoder for one request.

    Args:
        history_rows: Item rows, oldest first, -1 = use the codes instead. Shape: (num_positions,).
        history_codes: SIDs; -1 with a row of -1 = padding. Shape: (num_positions, num_levels).
    """

    history_rows: Int32Array
    history_codes: Int32Array


def features(history: HistoryArrays, max_len: int) -> Features:
    """Build the encoder's inputs from a history.

    Listens of every signal are inputs: what a listener skipped or disliked is context, and never a target
    (`sidestream.models.records.signals`).
    An entry with neither a row nor a SID is dropped before the latest `max_len` are taken. A history without any usable
    entry becomes one position of padding, so that the graph always has a position.

    Args:
        history: The listens, oldest first.
        max_len: Positions that the model reads, at least 1.

    Returns:
        The latest usable entries, oldest first.

        Shape: (num_positions,) and (num_positions, num_levels), 1 <= num_positions <= max_len.
    """
    rows, codes = latest_usable(history.rows, history.codes, max_len)
    return Features(np.ascontiguousarray(rows, np.int32), np.ascontiguousarray(codes, np.int32))


def latest_usable(rows: Int32Array, codes: Int32Array, max_len: int) -> tuple[Int32Array, Int32Array]:
    """Drop the entries of a history without row and SID, and take the latest of the others.

    Args:
        rows: Item rows, oldest first, -1 for an item that is not in the catalogue. Shape: (num_listens,).
        codes: SIDs, -1 where unknown. Shape: (num_listens, num_levels).
        max_len: Maximum number of entries, at least 1.

    Returns:
        Rows and codes of the latest entries that have a row or a complete SID; one entry of -1 if none has.

        Shape: (num_positions,) and (num_positions, num_levels).
    """
    usable = (rows >= 0) | (codes >= 0).all(axis=1)
    if not usable.all():
        rows, codes = rows[usable], codes[usable]
    if rows.size == 0:
        return np.full(1, UNKNOWN, np.int32), np.full((1, codes.shape[1]), UNKNOWN, np.int32)
    return rows[-max_len:], codes[-max_len:]
