"""Item data of a mapped row."""

from collections.abc import Mapping
from typing import Any, cast, get_args

from sidestream.models.data.importers.histories.fields import FieldMap, as_tags, as_text
from sidestream.models.data.importers.histories.units import read_duration_ms, read_published_at
from sidestream.models.data.importers.shown import shown
from sidestream.models.data.plays import Words
from sidestream.models.records.catalog import Kind

_TRUE, _FALSE = frozenset({"true", "1", "yes", "y"}), frozenset({"false", "0", "no", "n", ""})


def item_words(row: Mapping[str, Any], fields: FieldMap, duration_unit: str, tags_separator: str) -> Words:
    """Extract the item data of a row.

    Args:
        row: The row.
        fields: Mapping of the fields.
        duration_unit: `s` or `ms`.
        tags_separator: Separator of tags in one text.

    Returns:
        The item data.

    Raises:
        ValueError: A field is invalid; says which.
    """
    kind = as_text(fields.value(row, "kind")).lower() or "track"
    if kind not in get_args(Kind):
        msg = f"expected a kind of {', '.join(get_args(Kind))}, got {shown(kind)}"
        raise ValueError(msg)
    published = fields.value(row, "published")
    return Words(
        kind=cast(Kind, kind),
        title=as_text(fields.value(row, "title")),
        creator=as_text(fields.value(row, "creator")) or None,
        show=as_text(fields.value(row, "show")) or None,
        tags=as_tags(fields.value(row, "tags"), tags_separator),
        language=as_text(fields.value(row, "language")) or None,
        explicit=_as_bool(fields.value(row, "explicit")),
        description=as_text(fields.value(row, "description")),
        duration_ms=read_duration_ms(fields.value(row, "duration"), duration_unit) or None,
        published_at=None if published is None else read_published_at(published),
    )


def _as_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = as_text(value).lower()
    if word not in _TRUE | _FALSE:
        msg = f"expected explicit to be true or false, got {shown(word)}"
        raise ValueError(msg)
    return word in _TRUE
