"""Churn between two tokenizer versions, measured by items that share SIDs: codes themselves are not comparable.

Two fits of the same log also differ, by their random starts: compare with the churn between two seeds.

Legend: N items, L levels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.quality.neighbours import nearest_items, overlap, unit_vectors

Codes = npt.NDArray[np.int32]

_NEIGHBOURS = 10
_MAX_ASKED = 2_000
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Churn:
    """How much the neighbourhood of the items changed.

    Attributes:
        bucket_mates_changed: Share of items that share their SID with different items than before.
        prefix_mates_kept: For the first 1, 2, ... codes that both versions have: of the items that share them with an
            item before or after, the share that does so both times, averaged over the items.
        neighbours_changed: Share of the nearest items by vector that have changed.
        neighbours: Number of nearest items considered for each item.
        num_asked: Items drawn to measure the neighbours.
    """

    bucket_mates_changed: float
    prefix_mates_kept: tuple[float, ...]
    neighbours_changed: float
    neighbours: int
    num_asked: int


def measure_churn(
    old_codes: Codes,
    new_codes: Codes,
    old_vectors: npt.NDArray[np.floating],
    new_vectors: npt.NDArray[np.floating],
    rng: np.random.Generator,
) -> Churn:
    """Measure how much the neighbourhood of a catalogue's items changed.

    Args:
        old_codes: SIDs under the old version.

            Shape: (N, levels of the old version).
        new_codes: SIDs of the same items under the new version.

            Shape: (N, levels of the new version).
        old_vectors: Representation vectors under the old version.

            Shape: (N, dimensions of the old version).
        new_vectors: The same under the new version.

            Shape: (N, dimensions of the new version).
        rng: Draws the items whose neighbours are measured.

    Returns:
        The churn.
    """
    depth = min(old_codes.shape[1], new_codes.shape[1])
    kept = [_mates_kept(old_codes[:, :length], new_codes[:, :length]) for length in range(1, depth + 1)]
    count = min(_NEIGHBOURS, len(old_codes) - 1)
    asked = np.sort(rng.choice(len(old_codes), min(len(old_codes), _MAX_ASKED), replace=False))
    everything = np.arange(len(old_codes))
    changed = 0.0
    if count:
        found = [
            nearest_items(asked, unit_vectors(vectors), everything, count) for vectors in (old_vectors, new_vectors)
        ]
        changed = 1.0 - overlap(*found)
    return Churn(
        bucket_mates_changed=round(float((_mates_kept(old_codes, new_codes) < 1.0).mean()), _DIGITS),
        prefix_mates_kept=tuple(round(float(shares.mean()), _DIGITS) for shares in kept),
        neighbours_changed=round(changed, _DIGITS),
        neighbours=count,
        num_asked=len(asked),
    )


def _mates_kept(old: Codes, new: Codes) -> npt.NDArray[np.float64]:
    groups = [np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64) for codes in (old, new)]
    both = np.unique(groups[0] * (groups[1].max() + 1) + groups[1], return_inverse=True)[1]
    before, after, same = (np.bincount(group)[group] for group in (*groups, both))
    # An item without others before and after has kept its (empty) set.
    either = before + after - same - 1
    return np.where(either > 0, (same - 1) / np.maximum(either, 1), 1.0)
