"""Times how long new listens take to show in the order of a catalogue's buckets, without the wait for the refresh."""

import time

import numpy as np

from sidestream.streams.popularity.current_counts import LivePopularity
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import NUM_PARTS, PART_SHIFT, CountedPart, total_key
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import CatalogueSnapshot
from sidestream.tokenizer.popularity import Counts

_NOW_MS = 1_800_000_000_000
_LISTENS = 1_000


class Counted:
    """Totals of every item of a snapshot.

    Args:
        snapshot: The catalogue.
        changed: How many items get new listens.
    """

    def __init__(self, snapshot: CatalogueSnapshot, changed: int) -> None:
        rng = np.random.default_rng(0)
        self._snapshot, self._settings, self._now_s = snapshot, PopularitySettings(), 0.0
        self._keys = np.sort(snapshot.item_key[snapshot.bucket_rows])
        self._listens = rng.geometric(0.2, self._keys.size)
        self._changed = rng.choice(self._keys.size, min(changed, self._keys.size // 2), replace=False)
        self._live = LivePopularity(self._settings, 72.0, Metrics(), lambda: self._now_s)

    def figures(self) -> dict[str, float]:
        """Rank by all counts, then by new ones, then once more by the same, as each later snapshot is."""
        self._live.feed(self._records())
        self._live.ranked(self._snapshot, _NOW_MS)
        self._listens[self._changed] += _LISTENS
        records = self._records()
        self._now_s += self._settings.refresh_s
        begun, cpu = time.perf_counter(), time.process_time()
        self._live.feed(records)
        ranked = self._live.ranked(self._snapshot, _NOW_MS)
        figures = {"popularity_s": time.perf_counter() - begun, "popularity_cpu_s": time.process_time() - cpu}
        rows = ranked.row_of_key(self._keys[self._changed])
        if ranked.popularity is None or ranked.popularity[rows].min() < _LISTENS / 2:
            raise SystemExit("new listens do not show in the order of the catalogue")
        cpu = time.process_time()
        self._live.ranked(self._snapshot, _NOW_MS)
        return {**figures, "ranked_again_cpu_s": time.process_time() - cpu}

    def _records(self) -> list[tuple[bytes | None, bytes | None]]:
        decay = self._settings.decay
        counts = Counts.from_step(_NOW_MS // decay.step_ms, self._keys, self._listens)
        parts = ((part << PART_SHIFT, (part + 1 << PART_SHIFT) - 1) for part in range(NUM_PARTS))
        return [
            (total_key(part), CountedPart(decay.half_life_ms, 0, counts.between(first, last)).to_bytes())
            for part, (first, last) in enumerate(parts)
        ]
