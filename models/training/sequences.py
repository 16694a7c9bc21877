"""Training batches: windows of listening sequences, bucketed by length and padded on the left.

Decisions:
- A batch has windows of nearly equal length and at most `batch_positions` positions: the mean training length of Amazon
  Beauty is 6, so batches of mixed lengths would be mostly padding.
- Sequences longer than the model reads are cut into windows from the latest listen backwards, with a new random stride
  every epoch, so that no listen is always at the start of a window, without context.
- Inputs come from the same feature function as in serving.
- A listen with a negative signal is an input, since serving reads it too, and never a target.

Shape legend: B windows, T positions, L levels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sidestream.models.errors import TrainingError
from sidestream.models.features import ItemHistory, features

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of one batch; the target of a position is the next item.

    Args:
        items: Inputs, 0 where padded. Shape: (B, T).
        codes: SIDs of the inputs, -1 where padded. Shape: (B, T, L).
        targets: Next items, 0 where padded. Shape: (B, T).
        valid: False where padded. Shape: (B, T).
        asked: True where the item that came next was liked: what is learned from. Shape: (B, T).
    """

    items: Int64Array
    codes: Int64Array
    targets: Int64Array
    valid: BoolArray
    asked: BoolArray


class Batches:
    """All batches of a training, epoch by epoch.

    Args:
        sequences: Training sequences of item indices, oldest first.
        codes: SIDs of all items. Shape: (num_items, L).
        max_len: Positions that the model reads.
        batch_positions: Maximum positions of a batch (a window is never split).
        min_batches: Minimum batches per epoch, if there are that many windows.
        is_liked: Which listens of each sequence may be targets; None means all.

    Raises:
        TrainingError: No sequence has two listens, the later one liked, so there is nothing to predict.
    """

    def __init__(
        self,
        sequences: Sequence[Int32Array],
        codes: Int32Array,
        max_len: int,
        batch_positions: int,
        min_batches: int,
        is_liked: Sequence[BoolArray] | None = None,
    ) -> None:
        liked = is_liked if is_liked is not None else [np.ones(len(sequence), np.bool_) for sequence in sequences]
        pairs = zip(sequences, liked, strict=True)
        self._sequences = [_Listens(items, marks) for items, marks in pairs if marks[1:].any()]
        if not self._sequences:
            msg = (
                "training data: expected listeners with at least two listens before their held-out ones, the later "
                f"ones not skipped or disliked, got none among {len(sequences)}; import more listens"
            )
            raise TrainingError(msg)
        self._codes = codes
        self._max_len = max_len
        self.num_positions = sum(len(sequence.items) - 1 for sequence in self._sequences)
        self._positions = max(1, min(batch_positions, -(-self.num_positions // min_batches)))

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Iterate over all training listens once.

        Args:
            rng: Draws strides and order.

        Yields:
            Batches in random order.
        """
        windows = self._windows(rng)
        groups = _bucket(np.array([len(window.items) - 1 for window in windows]), self._positions, rng)
        for group in rng.permutation(len(groups)).tolist():
            yield self._batch([windows[index] for index in groups[group].tolist()])

    def steps_per_epoch(self) -> int:
        """Estimate the number of batches per epoch (it varies slightly with the strides)."""
        rng = np.random.default_rng(0)
        lengths = [len(window.items) - 1 for window in self._windows(rng)]
        return len(_bucket(np.array(lengths), self._positions, rng))

    def _windows(self, rng: np.random.Generator) -> list["_Listens"]:
        """Cut all sequences; a window without a target teaches nothing."""
        cut = (window for sequence in self._sequences for window in _windows(sequence, self._max_len, rng))
        return [window for window in cut if window.is_liked[1:].any()]

    def _batch(self, windows: Sequence["_Listens"]) -> Batch:
        length = max(len(window.items) for window in windows) - 1
        shape = (len(windows), length)
        batch = Batch(
            np.zeros(shape, np.int64),
            np.full((*shape, self._codes.shape[1]), -1, np.int64),
            np.zeros(shape, np.int64),
            np.zeros(shape, np.bool_),
            np.zeros(shape, np.bool_),
        )
        for row, window in enumerate(windows):
            read = window.items[:-1]
            inputs = features(ItemHistory(read, self._codes[read]), self._max_len)
            start = length - len(inputs.history_rows)
            batch.items[row, start:] = inputs.history_rows
            batch.codes[row, start:] = inputs.history_codes
            batch.targets[row, start:] = window.items[1:]
            batch.valid[row, start:] = True
            batch.asked[row, start:] = window.is_liked[1:]
        return batch


class _Listens(NamedTuple):
    """A sequence or a window of one. Shape: (T + 1,) both."""

    items: Int32Array
    is_liked: BoolArray


def _windows(sequence: _Listens, max_len: int, rng: np.random.Generator) -> Iterator[_Listens]:
    """Cut a sequence into windows of up to max_len inputs and their targets, the latest first."""
    length = len(sequence.items)
    if length <= max_len + 1:
        yield sequence
        return
    stride = int(rng.integers(max(1, max_len // 2), max_len + 1))
    for end in range(length, 1, -stride):
        part = slice(max(0, end - max_len - 1), end)
        yield _Listens(sequence.items[part], sequence.is_liked[part])
        if end - max_len - 1 <= 0:
            return


def _bucket(lengths: npt.NDArray[np.int64], batch_positions: int, rng: np.random.Generator) -> list[Int64Array]:
    """Group windows of similar length, each group at most batch_positions when padded to its longest."""
    order = np.lexsort((rng.random(len(lengths)), lengths))
    groups, start = [], 0
    for end in range(1, len(order) + 1):
        # Lengths are ascending: the next window would be the longest of its group.
        if end == len(order) or (end - start + 1) * lengths[order[end]] > batch_positions:
            groups.append(order[start:end])
            start = end
    return groups
