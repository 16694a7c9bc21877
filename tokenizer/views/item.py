"""Content of an item as input of the tokenizer: text, precomputed vectors, segments of a long item.

An `ItemContent` is always well formed: invalid names and segments are refused with a message that names them. The
vectors are checked when a tokenizer reads them, since only it knows their dimensions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from sidestream.tokenizer.errors import TokenizerError

TEXT_VIEW = "text"
SEGMENTS_VIEW = "segments"
SEGMENT_FIELDS = ("events", "dialogue", "acoustics")
# 2^10 segments of less than 2^27 ms: their duration-weighted sum on the 16-bit grid stays below 2^53, so it is exact.
MAX_SEGMENTS = 1_024
MAX_SEGMENT_MS = 86_400_000
_MAX_VIEW_CHARS = 64


@dataclass(frozen=True, slots=True)
class ContentSegment:
    """A segment of a long item or of a live stream, described in text.

    Attributes:
        start_ms: Start of the segment.
        end_ms: End of the segment, after `start_ms`.
        text: Text of the segment.
        field: What the text describes, one of `SEGMENT_FIELDS`; None if unspecified.
    """

    start_ms: int
    end_ms: int
    text: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class ItemContent:
    """An item's content as input of a tokenizer.

    Attributes:
        item_id: Id of the item.
        text: Text of the item, from `item_text`.
        views: Precomputed vectors by view name; a tokenizer reads those it was fitted with.
        segments: Segments; those of one field do not overlap.

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
        """Check the names of views, and the segments."""
        for name in self.views:
            _require_own_name(name)
        if self.segments:
            _require_segments(self.segments)


def text_items(item_ids: Sequence[str], texts: Sequence[str]) -> list[ItemContent]:
    """Build items with text only; raises `TokenizerError` if ids and texts differ in number."""
    if len(item_ids) != len(texts):
        msg = f"expected one text for each item, got {len(item_ids)} items and {len(texts)} texts; check the catalogue"
        raise TokenizerError(msg)
    return [ItemContent(item_id, text) for item_id, text in zip(item_ids, texts, strict=True)]


def _require_own_name(name: str) -> None:
    if not 0 < len(name) <= _MAX_VIEW_CHARS:
        msg = f"view {name[:80]!r}: expected a name of 1 to {_MAX_VIEW_CHARS} characters, got {len(name)}"
        raise TokenizerError(msg)
    if name == TEXT_VIEW or name.partition(".")[0] == SEGMENTS_VIEW:
        msg = f"view {name!r}: is reserved for the item's own text; give the precomputed vector another name"
        raise TokenizerError(msg)


def _require_segments(segments: Sequence[ContentSegment]) -> None:
    if len(segments) > MAX_SEGMENTS:
        msg = f"segments: expected at most {MAX_SEGMENTS}, got {len(segments)}; join adjacent ones"
        raise TokenizerError(msg)
    by_field: dict[str | None, list[tuple[int, int, int]]] = {}
    for place, segment in enumerate(segments):
        if problem := _problem(segment):
            msg = f"segments[{place}]: {problem}"
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


def _problem(segment: ContentSegment) -> str | None:
    start_ms, end_ms = segment.start_ms, segment.end_ms
    if start_ms < 0:
        return f"negative start: expected start_ms from 0, got {start_ms}"
    if end_ms <= start_ms:
        return f"empty span: expected end_ms after start_ms {start_ms}, got {end_ms}"
    if end_ms - start_ms > MAX_SEGMENT_MS:
        return f"long span: expected at most {MAX_SEGMENT_MS} ms, got {end_ms - start_ms}; cut it"
    if not segment.text.strip():
        return "empty text: expected words, got none; omit the segment"
    if segment.field is not None and segment.field not in SEGMENT_FIELDS:
        return f"unknown field: expected {', '.join(SEGMENT_FIELDS)} or none, got {segment.field[:40]!r}"
    return None
