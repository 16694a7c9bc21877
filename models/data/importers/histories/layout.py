"""What the first rows of a file of plays or items tell of it: fields, units of durations, ids written as decimals."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidestream.models.data.importers.histories.fields import Field, FieldMap, as_text
from sidestream.models.data.importers.histories.units import duration_unit, long_duration

DURATIONS: tuple[Field, ...] = ("duration", "listened")
_IDS: tuple[Field, ...] = ("user", "item", "session", "event")
# How pandas writes a column of whole numbers in which one was missing.
_DECIMAL = re.compile(r"(\d+)\.0")


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one file.

    Attributes:
        fields: Mapping of the fields.
        units: Unit of each column of durations.
        decimals: Ids that are whole numbers written as decimals.
        warnings: Units that look wrong but were applied.
    """

    fields: FieldMap
    units: Mapping[Field, str]
    decimals: frozenset[Field]
    warnings: tuple[str, ...] = ()

    @classmethod
    def found_in(cls, sample: Sequence[Mapping[str, Any]], fields: FieldMap, unit: str, name: str) -> "Layout":
        """Find the layout of a file.

        Args:
            sample: The first rows.
            fields: Mapping of the fields.
            unit: Given unit of all durations; `auto` takes that in the name of a column, else detects it.
            name: Name of the file, for messages.

        Returns:
            The layout.

        Raises:
            DataError: The unit of a column is not clear.
        """
        units: dict[Field, str] = {}
        warnings: list[str] = []
        item_ms: float | None = None
        for field in DURATIONS:
            if field not in {*fields.paths, *fields.constants}:
                continue
            column = f"column {fields.paths[field]}" if field in fields.paths else f"--constant {field}"
            named = fields.unit_named(field) if unit == "auto" else None
            source = f"the unit {named} in its name" if named else f"--duration-unit {unit}"
            values = [fields.value(row, field) for row in sample]
            units[field], warning = duration_unit(values, named or unit, source, f"{name}, {column}", item_ms)
            long = long_duration(values)
            if field == "duration" and long is not None:
                item_ms = long * (1_000 if units[field] == "s" else 1)
            if warning is not None:
                warnings.append(warning)
        decimals = frozenset(field for field in _IDS if _are_decimals([fields.value(row, field) for row in sample]))
        return cls(fields, units, decimals, tuple(warnings))

    def id_of(self, row: Mapping[str, Any], name: Field) -> str:
        """Extract an id from a row.

        Args:
            row: The row.
            name: A field that is an id.

        Returns:
            The id; empty for none.

        Raises:
            ValueError: It is neither text nor a number.
        """
        text = as_text(self.fields.value(row, name))
        decimal = _DECIMAL.fullmatch(text) if name in self.decimals else None
        return text if decimal is None else decimal[1]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to ids."""
        columns = ", ".join(self.fields.paths.get(field, field) for field in _IDS if field in self.decimals)
        return (f"Ids in {columns} are whole numbers written as decimals: 7.0 is read as 7.",) if columns else ()


def _are_decimals(values: Sequence[Any]) -> bool:
    texts = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    return bool(texts) and all(map(_DECIMAL.fullmatch, texts))
