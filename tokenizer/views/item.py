"""The plain form in which the tokenizer takes an item: words, precomputed vectors, stretches of a long item.

An `ItemContent` is well formed or is not made at all: whatever is wrong with names or stretches is told by name. The
vectors are looked at where a tokenizer reads them, since it alone knows how long they must be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from sidestream.tokenizer.errors import TokenizerError

TEXT_VIEW = "text"
SEGMENTS_VIEW = "segments"
SEGMENT_FIELDS = ("events", "dialogue", "acoustics")
# 2^10 stretches of less than 2^27 ms: their duration-weighted sum on the 16-bit grid stays below 2^53, so it is exact.
MAX_SEGMENTS = 1_024
MAX_SEGMENT_MS = 86_400_000
_MAX_VIEW_CHARS = 64


@dataclass(frozen=True, slots=True)
class ContentSegment:
    """A stretch of a long item or of a live stream, in words.

    Attributes:
        start_ms: Where it begins.
        end_ms: Where it ends, after `start_ms`.
        text: What is heard in it.
        field: What the words describe, one of `SEGMENT_FIELDS`; None where that is not said.
    """

    start_ms: int
    end_ms: int
    text: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class ItemContent:
    """An item as a tokenizer takes it.

    Attributes:
        item_id: Names the item.
        text: What `item_text` made of its names and description.
        views: Precomputed vectors by view name; a tokenizer reads those it was fitted with.
        segments: Stretches; those of one field do not overlap.

    Example:
        ```python
        item = ItemContent("e1", item_text("Rain on a tin roof", tags=["sleep"]))
        ```
    """

    item_id: str
    text: str = ""
    views: Mapping[str, Sequence[float]] = field(default_factory=dict)
    segments: tuple[ContentSegment, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that mean something else and malformed stretches."""
        for name in self.views:
            _require_own_name(name)
        if self.segments:
            _require_segments(self.segments)


def text_items(item_ids: Sequence[str], texts: Sequence[str]) -> list[ItemContent]:
    """Make items that are known by their words alone.

    Args:
        item_ids: Names.
        texts: What `item_text` made of each.

    Returns:
        One item for each pair.

    Raises:
        TokenizerError: Ids and texts differ in number.
    """
    if len(item_ids) != len(texts):
        msg = f"expected one text for each item, got {len(item_ids)} items and {len(texts)} texts; check the catalogue"
        raise TokenizerError(msg)
    return [ItemContent(item_id, text) for item_id, text in zip(item_ids, texts, strict=True)]


def _require_own_name(name: str) -> None:
    if not 0 < len(name) <= _MAX_VIEW_CHARS:
        msg = f"view {name[:80]!r}: expected a name of 1 to {_MAX_VIEW_CHARS} characters, got {len(name)}"
        raise TokenizerError(msg)
    if name == TEXT_VIEW or name.partition(".")[0] == SEGMENTS_VIEW:
        msg = f"view {name!r}: is made from the item's own words; give the precomputed vector another name"
        raise TokenizerError(msg)


def _require_segments(segments: Sequence[ContentSegment]) -> None:
    if len(segments) > MAX_SEGMENTS:
        msg = f"segments: expected at most {MAX_SEGMENTS}, got {len(segments)}; join neighbours"
        raise TokenizerError(msg)
    by_field: dict[str | None, list[tuple[int, int, int]]] = {}
    for place, segment in enumerate(segments):
        if fault := _fault(segment):
            msg = f"segments[{place}]: {fault}"
            raise TokenizerError(msg)
        by_field.setdefault(segment.field, []).append((segment.start_ms, segment.end_ms, place))
    for name, spans in by_field.items():
        for (_, end_ms, first), (start_ms, _, second) in pairwise(sorted(spans)):
            if start_ms < end_ms:
                msg = (
                    f"segments[{second}]: overlap: starts at {start_ms} ms, before segments[{first}] of the same field "
                    f"({name or 'none'}) ends at {end_ms} ms; cut one of them"
                )
                raise TokenizerError(msg)


def _fault(segment: ContentSegment) -> str | None:
    start_ms, end_ms = segment.start_ms, segment.end_ms
    if start_ms < 0:
        return f"negative start: expected start_ms from 0, got {start_ms}"
    if end_ms <= start_ms:
        return f"empty span: expected end_ms after start_ms {start_ms}, got {end_ms}"
    if end_ms - start_ms > MAX_SEGMENT_MS:
        return f"long span: expected at most {MAX_SEGMENT_MS} ms, got {end_ms - start_ms}; cut it"
    if not segment.text.strip():
        return "empty text: expected words, got none; leave the segment out"
    if segment.field is not None and segment.field not in SEGMENT_FIELDS:
        return f"unknown field: expected {', '.join(SEGMENT_FIELDS)} or none, got {segment.field[:40]!r}"
    return None
