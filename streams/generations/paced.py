"""The pace of a generation's catalogue: full speed while it serves, with rests while it only fills."""

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry

from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.kafka.pace import FULL_SPEED, Pace
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import CatalogueSnapshot

# Rest after a build, in multiples of its time, while the catalogue does not serve.
_DUTY = 4.0


def serve(catalogue: CurrentCatalogue, metrics: Metrics) -> None:
    """Have a catalogue go at full speed, and show its figures.

    Args:
        catalogue: The one that serves from now on.
        metrics: Where its figures are shown.
    """
    catalogue.go_at(FULL_SPEED, catalogue.settings, metrics)


def stand_by(catalogue: CurrentCatalogue, settings: GenerationSettings) -> None:
    """Have a catalogue rest after every batch, so that sessions keep their cores, and show no figures.

    Args:
        catalogue: One that does not serve.
        settings: Pace.
    """
    slower = {
        "min_rebuild_gap_ms": settings.standby_gap_ms,
        "rebuild_duty": max(_DUTY, catalogue.settings.rebuild_duty),
    }
    pace = Pace(settings.fill_batch, settings.fill_rest)
    catalogue.go_at(pace, catalogue.settings.model_copy(update=slower), Metrics(CollectorRegistry()))


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
