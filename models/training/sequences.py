"""Training batches: windows of listening sequences, bucketed by length and padded on the left.

Decisions:
- A batch has windows of nearly equal length and at most `batch_positions` positions: the mean training length of Amazon
  Beauty is 6, so batches of mixed lengths would be mostly padding.
- Sequences longer than the model reads are cut into windows from the latest listen backwards, with a new random stride
  every epoch, so that no listen is always at the start of a window, without context.
- Inputs come from the same feature function as in serving.

Shape legend: B windows, T positions, L levels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    """

    items: Int64Array
    codes: Int64Array
    targets: Int64Array
    valid: BoolArray


class Batches:
    """All batches of a training, epoch by epoch.

    Args:
        sequences: Training sequences of item indices, oldest first.
        codes: SIDs of all items. Shape: (num_items, L).
        max_len: Positions that the model reads.
        batch_positions: Maximum positions of a batch (a window is never split).
        min_batches: Minimum batches per epoch, if there are that many windows.

    Raises:
        TrainingError: No sequence has two listens, so there is nothing to predict.
    """

    def __init__(
        self, sequences: Sequence[Int32Array], codes: Int32Array, max_len: int, batch_positions: int, min_batches: int
    ) -> None:
        self._sequences = [sequence for sequence in sequences if len(sequence) > 1]
        if not self._sequences:
            msg = (
                "training data: expected listeners with at least two listens before their held-out ones, "
                f"got none among {len(sequences)}; import more listens"
            )
            raise TrainingError(msg)
        self._codes = codes
        self._max_len = max_len
        self.num_positions = sum(len(sequence) - 1 for sequence in self._sequences)
        self._positions = max(1, min(batch_positions, -(-self.num_positions // min_batches)))

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Iterate over all training listens once.

        Args:
            rng: Draws strides and order.

        Yields:
            Batches in random order.
        """
        windows = [window for sequence in self._sequences for window in _windows(sequence, self._max_len, rng)]
        groups = _bucket(np.array([len(window) - 1 for window in windows]), self._positions, rng)
        for group in rng.permutation(len(groups)).tolist():
            yield self._batch([windows[index] for index in groups[group].tolist()])

    def steps_per_epoch(self) -> int:
        """Estimate the number of batches per epoch (it varies slightly with the strides)."""
        rng = np.random.default_rng(0)
        lengths = [len(window) - 1 for sequence in self._sequences for window in _windows(sequence, self._max_len, rng)]
        return len(_bucket(np.array(lengths), self._positions, rng))

    def _batch(self, windows: Sequence[Int32Array]) -> Batch:
        length = max(len(window) for window in windows) - 1
        shape = (len(windows), length)
        batch = Batch(
            np.zeros(shape, np.int64),
            np.full((*shape, self._codes.shape[1]), -1, np.int64),
            np.zeros(shape, np.int64),
            np.zeros(shape, np.bool_),
        )
        for row, window in enumerate(windows):
            inputs = features(ItemHistory(window[:-1], self._codes[window[:-1]]), self._max_len)
            start = length - len(inputs.history_rows)
            batch.items[row, start:] = inputs.history_rows
            batch.codes[row, start:] = inputs.history_codes
            batch.targets[row, start:] = window[1:]
            batch.valid[row, start:] = True
        return batch


def _windows(sequence: Int32Array, max_len: int, rng: np.random.Generator) -> Iterator[Int32Array]:
    """Cut a sequence into windows of up to max_len inputs and their targets, latest first."""
    if len(sequence) <= max_len + 1:
        yield sequence
        return
    stride = int(rng.integers(max(1, max_len // 2), max_len + 1))
    for end in range(len(sequence), 1, -stride):
        yield sequence[max(0, end - max_len - 1) : end]
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
