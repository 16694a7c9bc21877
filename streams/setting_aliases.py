"""Older names of settings: still read from flags, environment, file and `Settings(…)`, as the present names are."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sidestream.streams.dotted import holds
from sidestream.streams.errors import SettingsError

ALIASES: Final[Mapping[str, str]] = {
    "popularity.fresh_hours": "recommend.new_within_hours",
    "recommend.beam_size": "engine.beam_size",
}
"""Present names of settings by their older dotted name."""

Layer = tuple[str, dict[str, Any]]


def with_present_names(layers: Sequence[Layer]) -> list[Layer]:
    """Replace older names by present ones.

    Args:
        layers: Where values come from and their groups, the layer that wins first; not changed.

    Returns:
        The same layers without older names.

    Raises:
        SettingsError: A setting is given by both names, with different values.
    """
    renamed = [(origin, dict(groups)) for origin, groups in layers]
    for old, new in ALIASES.items():
        _refuse_two_values(renamed, old, new)
        for _, groups in renamed:
            _rename(groups, old.split("."), new.split("."))
    return renamed


def _refuse_two_values(layers: Sequence[Layer], old: str, new: str) -> None:
    found_old, found_new = _first(layers, old), _first(layers, new)
    if found_old is None or found_new is None or _is_same(found_old[1], found_new[1]):
        return
    msg = (
        f"setting {new}: got {found_new[1]!r} ({found_new[0]}) and, by its older name {old}, {found_old[1]!r} "
        f"({found_old[0]}); expected one value: leave {old} out"
    )
    raise SettingsError(msg)


def _first(layers: Sequence[Layer], name: str) -> tuple[str, Any] | None:
    """Find the value that wins, and where it comes from; None where nobody gives one."""
    group, leaf = name.split(".")
    for origin, groups in layers:
        # The older beam size could be none, for the engine's own: nothing is given then.
        if holds(groups, [group, leaf]) and groups[group][leaf] is not None:
            return origin, groups[group][leaf]
    return None


def _rename(groups: dict[str, Any], old: Sequence[str], new: Sequence[str]) -> None:
    if not holds(groups, old):
        return
    groups[old[0]] = dict(groups[old[0]])
    value = groups[old[0]].pop(old[1])
    if value is not None and not holds(groups, new) and isinstance(groups.get(new[0], {}), Mapping):
        groups[new[0]] = {**groups.get(new[0], {}), new[1]: value}


def _is_same(one: object, other: object) -> bool:
    """Compare values that may be numbers or, in the environment, their text."""
    try:
        return float(str(one)) == float(str(other))
    except ValueError:
        return one == other
