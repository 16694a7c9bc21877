"""The pace of a generation's catalogue: full speed while it serves, rests while it is only being filled."""

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry

from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.kafka.pace import FULL_SPEED, Pace
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import CatalogueSnapshot

# Rest after a build in multiples of its duration, while the catalogue does not serve.
_DUTY = 4.0


def run_at_full_speed(catalogue: CurrentCatalogue, metrics: Metrics) -> None:
    """Let a catalogue run at full speed and update metrics.

    Args:
        catalogue: The catalogue that serves from now on.
        metrics: Metrics that it updates.
    """
    catalogue.go_at(FULL_SPEED, catalogue.settings, metrics)


def throttle(catalogue: CurrentCatalogue, settings: GenerationSettings) -> None:
    """Let a catalogue rest after every batch, so that sessions keep their cores, and update no metrics.

    Args:
        catalogue: A catalogue that does not serve.
        settings: Batch size and rests.
    """
    slower = {
        "min_rebuild_gap_ms": settings.standby_gap_ms,
        "rebuild_duty": max(_DUTY, catalogue.settings.rebuild_duty),
    }
    pace = Pace(settings.fill_batch, settings.fill_rest)
    catalogue.go_at(pace, catalogue.settings.model_copy(update=slower), Metrics(CollectorRegistry()))


def servable_keys(snapshot: CatalogueSnapshot) -> npt.NDArray[np.uint64]:
    """Return the keys of all items that may be candidates, ascending. Shape: (n,)."""
    keys: npt.NDArray[np.uint64] = np.unique(snapshot.rows.keys[snapshot.row_alive])
    return keys


def missing_keys(then: CatalogueSnapshot, now: CatalogueSnapshot, other: CatalogueSnapshot) -> int:
    """Count the items that the serving catalogue has and the next one lacks.

    Args:
        then: Snapshot of the serving catalogue some time before `other`, so that updates had time to reach both.
        now: Snapshot of the serving catalogue at the time of `other`: items removed in the meantime are not missing.
        other: Snapshot of the catalogue that is to serve next.

    Returns:
        Number of items.
    """
    served = np.intersect1d(servable_keys(then), servable_keys(now), assume_unique=True)
    return int(np.setdiff1d(served, servable_keys(other), assume_unique=True).size)
