"""Dotted names and the nested groups that they stand for: `lane.batch_ms` is `batch_ms` inside `lane`."""

from collections.abc import Mapping, Sequence
from typing import Any

from sidestream.streams.errors import SettingsError


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Put values where their dotted names say.

    Args:
        flat: Values by dotted name.

    Returns:
        Groups within groups.

    Raises:
        SettingsError: A name is a setting and a group at once.
    """
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, leaf = name.split(".")
        level = nested
        for group in groups:
            level = level.setdefault(group, {})
            if not isinstance(level, dict):
                msg = f"--set {name}=…: {group} is a setting and a group at once; give each value by its full name"
                raise SettingsError(msg)
        level[leaf] = value
    return nested


def merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Lay values over others.

    Args:
        into: Groups within groups; changed.
        layer: What wins.
    """
    for name, value in layer.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def holds(layer: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Tell whether a value is given.

    Args:
        layer: Groups within groups.
        path: The parts of its dotted name.

    Returns:
        Whether it is there.
    """
    value: Any = layer
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True
