"""Which signals of a listen say that the listener liked the item: the one rule for every reader of listens.

| signal                            | liking   | weight |
|-----------------------------------|----------|--------|
| listen, like, save, follow, share | positive | 1      |
| a signal of a newer release       | neutral  | 0      |
| skip, dislike                     | negative | 0      |

What readers do with it:

- Only positive listens are counted (live counts, the item table, the popularity and item-kNN baselines, co-occurrence),
  are predicted (training targets, validation and test targets), and stand for a listener's taste (listeners of live
  items).
- Every listen stays in the history, whatever its signal: it is context for the model, it makes an item familiar, and
  `exclude_seen` leaves its item out.

All positive signals weigh the same: a like or a save is an event of its own and is counted in addition to the listen
that it belongs to. Readers count events, so another weight would have to be added to `PartitionCounter` as well.
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
"""How much one listen with the signal counts; 0 for one that does not count."""

# Typed as plain text: states may hold signals that this release does not know.
POSITIVE_SIGNALS: Final[frozenset[str]] = frozenset(signal for signal, weight in SIGNAL_WEIGHTS.items() if weight > 0)


def is_positive(signal: str) -> bool:
    """Tell whether a signal says that the listener liked the item."""
    return signal in POSITIVE_SIGNALS


def positive_mask(signals: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Mark the positive signals of a history.

    Args:
        signals: In the order of the history.

    Returns:
        True where the signal is positive.

        Shape: (num_listens,).
    """
    return np.fromiter((signal in POSITIVE_SIGNALS for signal in signals), dtype=np.bool_)
