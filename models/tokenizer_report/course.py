"""Drift over time: the figures of the drift alarms, computed window after window of arrivals."""

from dataclasses import dataclass

import numpy as np

from sidestream.models.tokenizer_report.gather import ReportItems
from sidestream.tokenizer.drift import AlarmKind, ArrivalWindow, DriftFigures, DriftSettings, next_alarms
from sidestream.tokenizer.sid import item_keys

_POINTS = 80
_MIN_WINDOW = 50
# With fewer, a curve would have a few points of a few items each.
MIN_ITEMS = 4 * _MIN_WINDOW


@dataclass(frozen=True, slots=True)
class DriftCourse:
    """Figures over time.

    Attributes:
        window: Arrivals judged together.
        at: Epoch milliseconds of the last arrival of each window.
        figures: Drift figures of each window.
        raised: Number of windows with an active alarm, by kind.
    """

    window: int
    at: tuple[int, ...]
    figures: tuple[DriftFigures, ...]
    raised: dict[AlarmKind, int]


def drift_course(items: ReportItems, settings: DriftSettings) -> DriftCourse | None:
    """Compute the figures of arrivals in their order.

    Args:
        items: The catalogue.
        settings: Window and limits; a window is at most a quarter of the arrivals.

    Returns:
        The figures over time; None if too few items arrived.
    """
    total = len(items.codes)
    if total < MIN_ITEMS:
        return None
    window = ArrivalWindow(items.reference, min(settings.window, max(total // 4, _MIN_WINDOW)))
    keys = item_keys(items.item_ids)
    at: list[int] = []
    figures: list[DriftFigures] = []
    active = frozenset[AlarmKind]()
    raised = dict[AlarmKind, int]()
    edges = np.unique(np.linspace(window.size, total, _POINTS).astype(int)).tolist()
    for start, end in zip([0, *edges], edges, strict=False):
        part = slice(start, end)
        window.add(keys[part], items.arrival_codes[part], items.arrival_norms[part])
        found = window.figures()
        if found is None:
            continue
        at.append(int(items.arrived_at[end - 1]))
        figures.append(found)
        active = next_alarms(found, settings, active)
        for kind in active:
            raised[kind] = raised.get(kind, 0) + 1
    return DriftCourse(window.size, tuple(at), tuple(figures), raised)
