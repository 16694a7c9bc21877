"""Positive and negative signals of listens: the rule that all readers of listens share.

| signal                            | liking   | weight |
|-----------------------------------|----------|--------|
| listen, like, save, follow, share | positive | 1      |
| a signal of a newer release       | neutral  | 0      |
| skip, dislike                     | negative | 0      |

Use by readers:

- Only positive listens are counted (live counts, the item table, the popularity and item-kNN baselines, co-occurrence),
  are predicted (training targets, validation and test targets), and represent a listener's taste (listeners of live
  items, reserved places for new items).
- Every listen is in the history, regardless of its signal: it is context for the model, it makes an item familiar, and
  `exclude_seen` excludes its item.

All positive signals have the same weight: a like or a save is a separate event and is counted in addition to the listen
that it belongs to. Readers count events, so a different weight would have to be added to `PartitionCounter` as well.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from sidestream.models.records.listen import Signal

SIGNAL_WEIGHTS: Final[Mapping[Signal, int]] = {
    "listen": 1,
    "like": 1,
    "save": 1,
    "follow": 1,
    "share": 1,
    "skip": 0,
    "dislike": 0,
}
"""Weight of one listen with the signal; 0 if it is not counted."""

# Typed as plain text: states may have signals that this release does not know.
POSITIVE_SIGNALS: Final[frozenset[str]] = frozenset(signal for signal, weight in SIGNAL_WEIGHTS.items() if weight > 0)


def is_positive(signal: str) -> bool:
    """Return whether a signal is positive."""
    return signal in POSITIVE_SIGNALS


def positive_mask(signals: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Mark the positive signals of a history.

    Args:
        signals: Signals in the order of the history.

    Returns:
        True where the signal is positive.

        Shape: (num_listens,).
    """
    return np.fromiter((signal in POSITIVE_SIGNALS for signal in signals), dtype=np.bool_)
