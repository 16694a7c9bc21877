"""Drift alarms with hysteresis: raised above the limit, cleared below 80 % of it."""

from typing import Literal

from sidestream.tokenizer.drift.settings import DriftSettings
from sidestream.tokenizer.drift.window import DriftFigures

AlarmKind = Literal["residual", "codes", "collisions"]
_LEAVES_AT = 0.8


def next_alarms(figures: DriftFigures, limits: DriftSettings, active: frozenset[AlarmKind]) -> frozenset[AlarmKind]:
    """Return the alarms that are active after a window, given those that were active before."""
    measured: dict[AlarmKind, tuple[float, float]] = {
        "residual": (figures.residual_share, limits.residual_limit),
        "codes": (max(figures.psi), limits.psi_limit),
        "collisions": (figures.collision_share - figures.collision_expected, limits.collision_limit),
    }
    return frozenset(
        kind for kind, (value, limit) in measured.items() if value > (_LEAVES_AT * limit if kind in active else limit)
    )
