"""Who listens to live items: a listener's vector, and decayed sums of them by item.

A listener's vector is the decayed mean of what the SIDs of the recent listens stand for: the recent listens with their
SIDs are what the user's state holds, and quantization errors of 50 items average out. So no table of representation
vectors is needed where listens are folded.

A sum begins empty with the first listen that a worker counts for an item and is named by that listen's source offset.
After a change of hands another sum begins; the one before stays with the item and decays there. So nothing has to be
restored, no listen is in two sums, and what a crash loses are the listens since a sum was last published.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sidestream.tokenizer.arrays.int8 import quantize_rows
from sidestream.tokenizer.live.codebooks import LiveCodebooks
from sidestream.tokenizer.live.state import Listening, Partial
from sidestream.tokenizer.live.vectors import Float64, decay, unit
from sidestream.tokenizer.sid import Sid

# A sum that counts for less than a hundredth of a listen is forgotten where it is made, too.
_LEAST_WEIGHT = 0.01


class RecentListen(NamedTuple):
    """One listen of a listener's recent history.

    Attributes:
        age_ms: How long before now it was.
        tokenizer_version: Of the SID.
        sid: What was listened to.
    """

    age_ms: int
    tokenizer_version: str
    sid: Sid


def listener_vectors(
    listens: Sequence[RecentListen], codebooks: Mapping[str, LiveCodebooks], half_life_s: float
) -> dict[str, Float64]:
    """Make a listener's vectors.

    Args:
        listens: The recent listens, without those to the live item itself.
        codebooks: Tokenizers that are loaded.
        half_life_s: Half-life of a listen.

    Returns:
        A vector of length one by tokenizer version; versions without a listen are left out.
    """
    vectors = {}
    for version, tokenizer in codebooks.items():
        mine = [listen for listen in listens if listen.tokenizer_version == version]
        points = tokenizer.decode([listen.sid for listen in mine]) if mine else None
        if points is None:
            continue
        weights = np.array([decay(max(0, listen.age_ms), half_life_s) for listen in mine])
        vector = unit(weights @ points)
        if vector.any():
            vectors[version] = vector
    return vectors


@dataclass(slots=True)
class _Sum:
    since: int
    offset: int
    at: int
    is_new: bool = True
    totals: dict[str, Float64] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)


class Audience:
    """Sums of listeners' vectors of one worker, by live item and partition of the listens.

    Args:
        half_life_s: Half-life of a listen.
    """

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self._sums: dict[tuple[str, int], _Sum] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def add_listen(self, item_id: str, partition: int, offset: int, at: int, vectors: Mapping[str, Float64]) -> None:
        """Count a listen to a live item.

        Args:
            item_id: The item.
            partition: Of the listen.
            offset: Its source offset; one at or below the last counted was counted before.
            at: Its time, epoch ms.
            vectors: The listener's, by tokenizer version.
        """
        if not vectors:
            return
        known = self._sums.get((item_id, partition))
        if known is None:
            known = self._sums[item_id, partition] = _Sum(offset, offset, at)
        elif offset <= known.offset:
            return
        self._age(known, max(known.at, at))
        weight = decay(known.at - at, self._half_life_s)
        for version, vector in vectors.items():
            known.totals[version] = known.totals.get(version, 0.0) + weight * vector
            known.weights[version] = known.weights.get(version, 0.0) + weight
        known.offset, known.is_new = offset, True

    def publish(self, alive: Iterable[str]) -> list[tuple[str, Partial]]:
        """Tell what has changed since the last call, and forget items that are over or that nobody listens to.

        Args:
            alive: Ids of the live items.

        Returns:
            Item ids and sums, by item and partition.
        """
        alive = set(alive)
        newest_at = max((known.at for known in self._sums.values()), default=0)
        told = []
        for (item_id, partition), known in sorted(self._sums.items()):
            left = decay(newest_at - known.at, self._half_life_s) * max(known.weights.values())
            if item_id not in alive or left < _LEAST_WEIGHT:
                del self._sums[item_id, partition]
            elif known.is_new:
                known.is_new = False
                told.append((item_id, _partial(partition, known)))
        return told

    def clear(self) -> None:
        """Begin anew, after a change of hands."""
        self._sums.clear()

    def _age(self, known: _Sum, at: int) -> None:
        kept = decay(at - known.at, self._half_life_s)
        if kept < 1.0:
            known.totals = {version: kept * total for version, total in known.totals.items()}
            known.weights = {version: kept * weight for version, weight in known.weights.items()}
        known.at = at


def _partial(partition: int, known: _Sum) -> Partial:
    means = {}
    for version, total in sorted(known.totals.items()):
        quantized, scales = quantize_rows((total / known.weights[version]).astype(np.float32)[None, :])
        means[version] = Listening(quantized[0].tobytes(), float(scales[0]), known.weights[version])
    return Partial(partition, known.since, known.offset, known.at, means)
