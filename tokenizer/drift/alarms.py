"""When an alarm begins and ends: above its limit, and until below 80 % of it, so that it does not flutter."""

from typing import Literal

from sidestream.tokenizer.drift.settings import DriftSettings
from sidestream.tokenizer.drift.window import DriftFigures

AlarmKind = Literal["residual", "codes", "collisions"]
_LEAVES_AT = 0.8


def next_alarms(figures: DriftFigures, limits: DriftSettings, standing: frozenset[AlarmKind]) -> frozenset[AlarmKind]:
    """Judge a window.

    Args:
        figures: Of the window.
        limits: What is too far.
        standing: Alarms until now.

    Returns:
        Alarms from now on.
    """
    measured: dict[AlarmKind, tuple[float, float]] = {
        "residual": (figures.residual_share, limits.residual_limit),
        "codes": (max(figures.psi), limits.psi_limit),
        "collisions": (figures.collision_share - figures.collision_expected, limits.collision_limit),
    }
    return frozenset(
        kind for kind, (value, limit) in measured.items() if value > (_LEAVES_AT * limit if kind in standing else limit)
    )
