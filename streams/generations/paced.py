"""The catalogue of a generation that does not serve yet: it fills with rests, so that sessions keep their cores."""

import time
from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry

from sidestream.streams.catalogue.current import CurrentCatalogue, KeyValue, RebuildPace
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import CatalogueSnapshot

# Rest after a build, in multiples of its time, while the catalogue does not serve.
_DUTY = 4.0


class PacedCatalogue(CurrentCatalogue):
    """A live catalogue whose writer rests after every batch, and whose figures nobody sees, until it serves.

    Attributes:
        settings: Its pace while it serves.
        batch: Records applied in one go where it rests.
        rest: In multiples of each batch's own time.
        sleep: Waits, in seconds, in the writer's thread.
    """

    settings: CatalogueSettings = CatalogueSettings()
    batch: int = 64
    rest: float = 0.0
    sleep: Callable[[float], None] = staticmethod(time.sleep)

    def serve(self, metrics: Metrics) -> None:
        """Hurry, and show figures.

        Args:
            metrics: Where.
        """
        self.rest = 0.0
        self.pace = RebuildPace(self.settings, time.monotonic)
        self._metrics = metrics
        metrics.catalogue_items.set(self.snapshot.num_items)

    def stand_by(self, settings: GenerationSettings) -> None:
        """Rest, and show none.

        Args:
            settings: Pace.
        """
        self.batch, self.rest = settings.fill_batch, settings.fill_rest
        slower = {"min_rebuild_gap_ms": settings.standby_gap_ms, "rebuild_duty": max(_DUTY, self.settings.rebuild_duty)}
        self.pace = RebuildPace(self.settings.model_copy(update=slower), time.monotonic)
        self._metrics = Metrics(CollectorRegistry())

    def apply(self, records: Iterable[KeyValue], arrived_s: float) -> None:
        """Apply records in order; with rests, where it has to.

        Args:
            records: Keys and values.
            arrived_s: When they arrived, by the monotonic clock.
        """
        if self.rest <= 0:
            super().apply(records, arrived_s)
            return
        left = iter(records)
        while batch := list(islice(left, self.batch)):
            begun_s = time.perf_counter()
            super().apply(batch, arrived_s)
            self.sleep(self.rest * (time.perf_counter() - begun_s))


def standing_keys(snapshot: CatalogueSnapshot) -> npt.NDArray[np.uint64]:
    """Return the keys of all items that can be candidates, ascending. Shape: (n,)."""
    keys: npt.NDArray[np.uint64] = np.unique(snapshot.rows.keys[snapshot.row_alive])
    return keys


def missing_keys(then: CatalogueSnapshot, now: CatalogueSnapshot, other: CatalogueSnapshot) -> int:
    """Count what one catalogue serves and another does not hold.

    Args:
        then: Of the one that serves, some time before `other` was taken: news had time to reach both.
        now: Of the same at the time of `other`: what was removed meanwhile is missed by nobody.
        other: Of the one that is to serve.

    Returns:
        Items.
    """
    served = np.intersect1d(standing_keys(then), standing_keys(now), assume_unique=True)
    return int(np.setdiff1d(served, standing_keys(other), assume_unique=True).size)
