"""Reading of views: for each view, a unit vector per item, or zeros where an item lacks the view.

* `text`: the content encoder's vector of the item's text.
* `segments`: mean of the vectors of all its segments, weighted by duration; `segments.dialogue` (or another field):
  of that field only.
* any other name: the item's precomputed vector of that name.

Rows are on the grid of `tokenizer/arrays/grid.py`; a row depends only on its item.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sidestream.tokenizer.arrays.grid import CONTENT_BITS, MAX_DIM, Exact, require_rows, unit_rows
from sidestream.tokenizer.content import ContentEncoder
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.views.item import SEGMENT_FIELDS, SEGMENTS_VIEW, TEXT_VIEW, ContentSegment, ItemContent

_WORD_VIEWS = (TEXT_VIEW, SEGMENTS_VIEW, *(f"{SEGMENTS_VIEW}.{name}" for name in SEGMENT_FIELDS))


def view_dims(names: Sequence[str], items: Sequence[ItemContent], encoder: ContentEncoder) -> dict[str, int]:
    """Determine the dimensions of each view.

    Args:
        names: Distinct names of views.
        items: Items to fit on; the first item with a precomputed view determines its dimensions.
        encoder: Determines the dimensions of text views.

    Returns:
        Dimensions by view, in the given order.

    Raises:
        TokenizerError: A name repeats or is not a known text view, no item has the view, or all views together have
            more than `MAX_DIM` dimensions.
    """
    dims: dict[str, int] = {}
    for name in names:
        if name in dims or (name.partition(".")[0] == SEGMENTS_VIEW and name not in _WORD_VIEWS):
            msg = f"views: expected each once, and of text only {', '.join(_WORD_VIEWS)}, got {name!r} in {[*names]}"
            raise TokenizerError(msg)
        found = (len(item.views[name]) for item in items if name in item.views)
        dims[name] = encoder.dim if name in _WORD_VIEWS else next(found, 0)
        if not dims[name]:
            msg = f"view {name!r}: no item has a vector for it; remove it from tokenizer.views, or publish the vectors"
            raise TokenizerError(msg)
    if sum(dims.values()) > MAX_DIM:
        msg = f"views: expected at most {MAX_DIM} dimensions in total, got {dims}; remove one, or shorten it"
        raise TokenizerError(msg)
    return dims


def read_views(items: Sequence[ItemContent], dims: Mapping[str, int], encoder: ContentEncoder) -> list[Exact]:
    """Compute the rows of each view.

    Args:
        items: Items.
        dims: Dimensions by view.
        encoder: Encodes text.

    Returns:
        For each view, in the order of `dims`, a unit vector per item, or zeros where the item lacks the view.

        Shape: (num_items, dimensions of the view).

    Raises:
        TokenizerError: A precomputed vector has a wrong length, contains NaN or infinity, or is all zeros; or the
            encoder's vectors do not fit.
    """
    return [_rows(name, dim, items, encoder) for name, dim in dims.items()]


def _rows(name: str, dim: int, items: Sequence[ItemContent], encoder: ContentEncoder) -> Exact:
    if name == TEXT_VIEW:
        return _text_rows([item.text for item in items], dim, encoder)
    if name in _WORD_VIEWS:
        return _segment_rows(name.partition(".")[2], dim, items, encoder)
    rows = np.zeros((len(items), dim))
    for row, item in enumerate(items):
        if name in item.views:
            rows[row] = _precomputed_row(name, item.views[name], dim)
    return unit_rows(rows, CONTENT_BITS)


def _text_rows(texts: Sequence[str], dim: int, encoder: ContentEncoder) -> Exact:
    return unit_rows(require_rows(encoder.encode(texts), dim, f"vectors of {encoder.name}"), CONTENT_BITS)


def _segment_rows(field: str, dim: int, items: Sequence[ItemContent], encoder: ContentEncoder) -> Exact:
    spans: list[tuple[int, ContentSegment]] = [
        (row, segment)
        for row, item in enumerate(items)
        for segment in item.segments
        if not field or segment.field == field
    ]
    sums = np.zeros((len(items), dim))
    vectors = _text_rows([segment.text for _, segment in spans], dim, encoder)
    for (row, segment), vector in zip(spans, vectors, strict=True):
        # Integer milliseconds times grid steps: exact in any order.
        sums[row] += vector * (segment.end_ms - segment.start_ms)
    return unit_rows(sums, CONTENT_BITS)


def _precomputed_row(name: str, numbers: Sequence[float], dim: int) -> Exact:
    vector: Exact = np.asarray(numbers, dtype=np.float64)
    if vector.shape != (dim,):
        msg = f"view {name!r}: wrong size: expected {dim} numbers as when it was fitted, got {vector.size}"
        raise TokenizerError(msg)
    finite = np.isfinite(vector)
    if not finite.all():
        msg = f"view {name!r}: number {int(np.argmin(finite))} of {dim} is NaN or infinity; check what produced it"
        raise TokenizerError(msg)
    if not vector.any():
        msg = f"view {name!r}: all {dim} numbers are zero, which has no direction; omit the view from the item"
        raise TokenizerError(msg)
    return vector
