"""Conversion of dotted names to nested groups: `lane.batch_ms` is `batch_ms` inside `lane`."""

from collections.abc import Mapping, Sequence
from typing import Any

from sidestream.streams.errors import SettingsError


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values by dotted name to nested groups.

    Args:
        flat: Values by dotted name.

    Returns:
        Nested groups.

    Raises:
        SettingsError: A name is used as a setting and as a group.
    """
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, leaf = name.split(".")
        level = nested
        for group in groups:
            level = level.setdefault(group, {})
            if not isinstance(level, dict):
                msg = f"--set {name}=…: {group} is used as a setting and as a group; give each value by its full name"
                raise SettingsError(msg)
        level[leaf] = value
    return nested


def merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Merge a layer into nested groups, in place; its values take precedence."""
    for name, value in layer.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def holds(layer: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether nested groups contain a value, given by the parts of its dotted name."""
    value: Any = layer
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True
