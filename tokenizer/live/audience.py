"""Audience of live items: a vector for each listener, and decayed sums of these vectors by item.

A listener's vector is the decayed mean of the decoded SIDs of the recent listens: the recent listens with their SIDs
are in the user's state, and the quantization errors of 50 items average out. So folding listens needs no table of
representation vectors.

A sum starts empty with the first listen that a worker counts for an item and is identified by that listen's source
offset. After a change of the partition's owner a new sum starts; the previous one stays with the item and decays. So
nothing has to be restored, no listen is in two sums, and a crash loses only the listens since a sum was last published.
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

# A sum worth less than a hundredth of a listen is dropped by the worker, too.
_LEAST_WEIGHT = 0.01


class RecentListen(NamedTuple):
    """One listen of a listener's recent history.

    Attributes:
        age_ms: Age of the listen.
        tokenizer_version: Version of the SID.
        sid: SID of the item.
    """

    age_ms: int
    tokenizer_version: str
    sid: Sid


def listener_vectors(
    listens: Sequence[RecentListen], codebooks: Mapping[str, LiveCodebooks], half_life_s: float
) -> dict[str, Float64]:
    """Compute a listener's vectors.

    Args:
        listens: The recent listens, without those to the live item itself.
        codebooks: Loaded tokenizers by version.
        half_life_s: Half-life of a listen.

    Returns:
        A unit vector by tokenizer version; versions without a listen are omitted.
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
    """One worker's sums of listener vectors, by live item and partition of the listens.

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
            partition: Partition of the listen.
            offset: Source offset of the listen; an offset not above the last counted one is ignored as a repeat.
            at: Time of the listen, epoch ms.
            vectors: The listener's vectors by tokenizer version.
        """
        if not vectors:
            return
        known = self._sums.get((item_id, partition))
        if known is None:
            known = self._sums[item_id, partition] = _Sum(offset, offset, at)
        elif offset <= known.offset:
            return
        self._decay_to(known, max(known.at, at))
        weight = decay(known.at - at, self._half_life_s)
        for version, vector in vectors.items():
            known.totals[version] = known.totals.get(version, 0.0) + weight * vector
            known.weights[version] = known.weights.get(version, 0.0) + weight
        known.offset, known.is_new = offset, True

    def publish(self, alive: Iterable[str]) -> list[tuple[str, Partial]]:
        """Return the sums that have changed since the last call; drop items that have ended or have no listeners.

        Args:
            alive: Ids of the live items.

        Returns:
            Item ids and sums, by item and partition.
        """
        alive = set(alive)
        newest_at = max((known.at for known in self._sums.values()), default=0)
        changed = []
        for (item_id, partition), known in sorted(self._sums.items()):
            left = decay(newest_at - known.at, self._half_life_s) * max(known.weights.values())
            if item_id not in alive or left < _LEAST_WEIGHT:
                del self._sums[item_id, partition]
            elif known.is_new:
                known.is_new = False
                changed.append((item_id, _partial(partition, known)))
        return changed

    def clear(self) -> None:
        """Drop all sums, after a change of partition owners."""
        self._sums.clear()

    def _decay_to(self, known: _Sum, at: int) -> None:
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
