"""Watches what the catalogue agent publishes for drift: figures and alarms on `/metrics`, one log line per change.

A live item counts once, by its own words, as any item. What it is tokenized to later is left out, since the reference
knows items, and a fused vector (words, window, memory, listeners) is none: it lies between them, far from every code.
Of 300 steady streams on topics of the training, 96 to 99 % left more over than 95 % of the training items do, and 8 %
by their own words; the alarm would ring wherever live items make a sixth of the arrivals, and tell nothing.
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
# So large a part of a window is taken in at once: an item by itself would take 0.4 ms.
_PARTS = 20
_MEANINGS: dict[AlarmKind, str] = {
    "residual": "the codes of new items leave more over than those of training items: what they say is new to it",
    "codes": "new items fall on other codes than training items",
    "collisions": "new items share their SIDs more often than training items would",
}
_ADVICE = (
    "look at `sidestream tokenizer report`; if the catalogue has changed for good, train a tokenizer on newer logs "
    "and a model on it"
)


class DriftWatch:
    """Judges new items of one tokenizer version; items that it heard in training are no news and left out.

    Called from one thread.

    Args:
        tokenizer: Gives the SIDs.
        settings: Window and limits.
        metrics: Figures and alarms.
    """

    def __init__(self, tokenizer: CatalogTokenizer, settings: DriftSettings, metrics: Metrics) -> None:
        self._tokenizer = tokenizer.tokenizer
        self._settings = settings
        self._metrics = metrics
        self._window = ArrivalWindow(tokenizer.reference, settings.window) if tokenizer.reference else None
        self._waiting: list[tuple[str, TokenizedItem]] = []
        self._alarms = frozenset[AlarmKind]()
        # What an earlier version left there says nothing of this one.
        metrics.drift_alarm.clear()
        metrics.drift_arrivals.set(0)
        metrics.drift_reference.set(self._window is not None)
        if self._window is None:
            _log.info(
                "drift of the catalogue is not watched: this tokenizer has no reference; one fitted anew has it",
                tokenizer=self._tokenizer.version,
            )

    def observe(self, values: Sequence[ItemSids]) -> None:
        """Take values in, about 10 us an item, and judge the window now and then.

        Args:
            values: As published; those without this tokenizer's version are left out.
        """
        version = self._tokenizer.version
        if self._window is None:
            return
        self._waiting += [(value.item_id, value.versions[version]) for value in values if version in value.versions]
        if len(self._waiting) * _PARTS >= self._window.size:
            waiting, self._waiting = self._waiting, []
            self._take(self._window, waiting)

    def _take(self, window: ArrivalWindow, waiting: list[tuple[str, TokenizedItem]]) -> None:
        keys = item_keys(item_id for item_id, _ in waiting)
        news = np.flatnonzero(find(self._tokenizer.representation.keys, keys) < 0)
        if not len(news):
            return
        chosen = [waiting[row][1] for row in news]
        codes = np.array([item.sid for item in chosen], dtype=np.int32)
        rows = np.frombuffer(b"".join(base64.b64decode(item.vector) for item in chosen), dtype=np.int8)
        scales = np.array([item.vector_scale for item in chosen])[:, None]
        vectors = rows.reshape(len(chosen), -1) * scales
        added = window.add(keys[news], codes, residual_norms(self._tokenizer.levels, vectors, codes))
        self._metrics.drift_arrivals.set(window.filled)
        figures = window.figures()
        if added and figures is not None:
            self._judge(figures, window.size)

    def _judge(self, figures: DriftFigures, arrivals: int) -> None:
        self._metrics.drift_residual_share.set(figures.residual_share)
        self._metrics.drift_collision_share.labels("measured").set(figures.collision_share)
        self._metrics.drift_collision_share.labels("expected").set(figures.collision_expected)
        for level, value in enumerate(figures.psi):
            self._metrics.drift_psi.labels(str(level)).set(value)
        alarms = next_alarms(figures, self._settings, self._alarms)
        for kind, meaning in _MEANINGS.items():
            self._metrics.drift_alarm.labels(kind).set(kind in alarms)
            if kind in alarms - self._alarms:
                _log.warning(f"drift alarm {kind}: {meaning}; {_ADVICE}", **_told(figures), arrivals=arrivals)
            elif kind in self._alarms - alarms:
                _log.info(f"drift alarm {kind} is over", **_told(figures), arrivals=arrivals)
        self._alarms = alarms


class DriftMonitor:
    """Watches the tokenizer that serves, and begins anew when another one does.

    Args:
        settings: Window and limits.
        metrics: Figures and alarms.
    """

    def __init__(self, settings: DriftSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._version: str | None = None
        self._watch: DriftWatch | None = None

    def use(self, tokenizers: Sequence[ItemEncoder]) -> None:
        """Watch the first of some tokenizers.

        Args:
            tokenizers: In use, the one that serves first; others than `CatalogTokenizer` have no codebooks to watch.
        """
        serving = tokenizers[0] if tokenizers else None
        if serving is None or serving.version == self._version:
            return
        self._version = serving.version
        self._watch = None
        if isinstance(serving, CatalogTokenizer):
            self._watch = DriftWatch(serving, self._settings, self._metrics)

    def observe(self, values: Sequence[ItemSids]) -> None:
        """Take values in.

        Args:
            values: As published.
        """
        if self._watch is not None:
            self._watch.observe(values)


def _told(figures: DriftFigures) -> dict[str, object]:
    return {
        "residual_share": round(figures.residual_share, 3),
        "psi": list(figures.psi),
        "collision_share": round(figures.collision_share, 3),
        "collision_expected": round(figures.collision_expected, 3),
    }
