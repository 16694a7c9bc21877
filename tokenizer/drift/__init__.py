"""Drift detection: whether new items still resemble those that the frozen tokenizer was fitted on.

The reference is measured when the tokenizer is fitted, on the training items encoded as new items: without their
collaborative vectors, since a new item has no listens. Measured with the collaborative vectors, the same items would
give a misleading reference: on two real catalogues 9 and 21 % of a window shared a SID then, whereas 39 and 16 % of
held-out items did.
"""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from sidestream.tokenizer.drift.alarms import AlarmKind, next_alarms
    from sidestream.tokenizer.drift.reference import (
        DriftReference,
        describe_arrivals,
        held_out_stretch,
        measure_reference,
        residual_norms,
    )
    from sidestream.tokenizer.drift.settings import DriftSettings
    from sidestream.tokenizer.drift.window import ArrivalWindow, DriftFigures

__all__ = [
    "AlarmKind",
    "ArrivalWindow",
    "DriftFigures",
    "DriftReference",
    "DriftSettings",
    "describe_arrivals",
    "held_out_stretch",
    "measure_reference",
    "next_alarms",
    "residual_norms",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "alarms": ("AlarmKind", "next_alarms"),
        "reference": ("DriftReference", "describe_arrivals", "held_out_stretch", "measure_reference", "residual_norms"),
        "settings": ("DriftSettings",),
        "window": ("ArrivalWindow", "DriftFigures"),
    },
)
