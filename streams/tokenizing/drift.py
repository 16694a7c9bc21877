"""Monitors the values that the catalogue agent publishes for drift: metrics, alarms, and one log line per change.

A live item counts once, by its own words, like any item. Its later SIDs are left out, because the reference describes
items, and a fused vector (words, window, memory, listeners) is not one: it is between items, far from every code.
Of 300 steady streams on topics of the training set, 96 to 99 % had a larger quantization residual than 95 % of the
training items, but only 8 % by their own words; the alarm would be raised wherever live items are a sixth of the
arrivals, and mean nothing.
"""

import base64
from collections.abc import Sequence

import numpy as np
import structlog

from sidestream.models.records import ItemSids, TokenizedItem
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.values import ItemEncoder
from sidestream.tokenizer.arrays.search import find
from sidestream.tokenizer.drift import (
    AlarmKind,
    ArrivalWindow,
    DriftFigures,
    DriftSettings,
    next_alarms,
    residual_norms,
)
from sidestream.tokenizer.sid import item_keys
from sidestream.tokenizer.tokenizer import CatalogTokenizer

_log = structlog.get_logger(__name__)
# Arrivals are added in groups of 1/20 of the window: adding a single item takes 0.4 ms.
_PARTS = 20
_MEANINGS: dict[AlarmKind, str] = {
    "residual": "new items have a larger quantization residual than training items: their content is new to the "
    "tokenizer",
    "codes": "the distribution of codes differs between new items and training items",
    "collisions": "new items share their SIDs more often than training items would",
}
_ADVICE = (
    "look at `sidestream tokenizer report`; if the catalogue has changed for good, train a tokenizer on newer logs "
    "and a model on it"
)


class DriftWatch:
    """Compares new items with the training items of one tokenizer version; items of the training set are left out.

    Called from one thread.

    Args:
        tokenizer: The tokenizer that the values were made with.
        settings: Window and limits.
        metrics: Gauges and alarms.
    """

    def __init__(self, tokenizer: CatalogTokenizer, settings: DriftSettings, metrics: Metrics) -> None:
        self._tokenizer = tokenizer.tokenizer
        self._settings = settings
        self._metrics = metrics
        self._window = ArrivalWindow(tokenizer.reference, settings.window) if tokenizer.reference else None
        self._waiting: list[tuple[str, TokenizedItem]] = []
        self._alarms = frozenset[AlarmKind]()
        # The gauges may still hold the figures of an earlier version.
        metrics.drift_alarm.clear()
        metrics.drift_arrivals.set(0)
        metrics.drift_reference.set(self._window is not None)
        if self._window is None:
            _log.info(
                "catalogue drift is not monitored: this tokenizer was fitted without a reference; fit it again to get "
                "one",
                tokenizer=self._tokenizer.version,
            )

    def observe(self, values: Sequence[ItemSids]) -> None:
        """Add values, about 10 us per item, and evaluate the window from time to time.

        Args:
            values: Published values; those without this tokenizer's version are left out.
        """
        version = self._tokenizer.version
        if self._window is None:
            return
        self._waiting += [(value.item_id, value.versions[version]) for value in values if version in value.versions]
        if len(self._waiting) * _PARTS >= self._window.size:
            waiting, self._waiting = self._waiting, []
            self._add(self._window, waiting)

    def _add(self, window: ArrivalWindow, waiting: list[tuple[str, TokenizedItem]]) -> None:
        keys = item_keys(item_id for item_id, _ in waiting)
        new = np.flatnonzero(find(self._tokenizer.representation.keys, keys) < 0)
        if not len(new):
            return
        chosen = [waiting[row][1] for row in new]
        codes = np.array([item.sid for item in chosen], dtype=np.int32)
        rows = np.frombuffer(b"".join(base64.b64decode(item.vector) for item in chosen), dtype=np.int8)
        scales = np.array([item.vector_scale for item in chosen])[:, None]
        vectors = rows.reshape(len(chosen), -1) * scales
        added = window.add(keys[new], codes, residual_norms(self._tokenizer.levels, vectors, codes))
        self._metrics.drift_arrivals.set(window.filled)
        figures = window.figures()
        if added and figures is not None:
            self._report(figures, window.size)

    def _report(self, figures: DriftFigures, arrivals: int) -> None:
        self._metrics.drift_residual_share.set(figures.residual_share)
        self._metrics.drift_collision_share.labels("measured").set(figures.collision_share)
        self._metrics.drift_collision_share.labels("expected").set(figures.collision_expected)
        for level, value in enumerate(figures.psi):
            self._metrics.drift_psi.labels(str(level)).set(value)
        alarms = next_alarms(figures, self._settings, self._alarms)
        for kind, meaning in _MEANINGS.items():
            self._metrics.drift_alarm.labels(kind).set(kind in alarms)
            if kind in alarms - self._alarms:
                _log.warning(f"drift alarm {kind}: {meaning}; {_ADVICE}", **_log_fields(figures), arrivals=arrivals)
            elif kind in self._alarms - alarms:
                _log.info(f"drift alarm {kind} is over", **_log_fields(figures), arrivals=arrivals)
        self._alarms = alarms


class DriftMonitor:
    """Monitors the tokenizer that serves, and starts again when another one serves.

    Args:
        settings: Window and limits.
        metrics: Gauges and alarms.
    """

    def __init__(self, settings: DriftSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._version: str | None = None
        self._watch: DriftWatch | None = None

    def set_tokenizers(self, tokenizers: Sequence[ItemEncoder]) -> None:
        """Monitor the first of the loaded tokenizers.

        Args:
            tokenizers: The loaded tokenizers, the one that serves first. Only a `CatalogTokenizer` has codebooks to
                monitor.
        """
        serving = tokenizers[0] if tokenizers else None
        if serving is None or serving.version == self._version:
            return
        self._version = serving.version
        self._watch = None
        if isinstance(serving, CatalogTokenizer):
            self._watch = DriftWatch(serving, self._settings, self._metrics)

    def observe(self, values: Sequence[ItemSids]) -> None:
        """Add published values."""
        if self._watch is not None:
            self._watch.observe(values)


def _log_fields(figures: DriftFigures) -> dict[str, object]:
    return {
        "residual_share": round(figures.residual_share, 3),
        "psi": list(figures.psi),
        "collision_share": round(figures.collision_share, 3),
        "collision_expected": round(figures.collision_expected, 3),
    }
