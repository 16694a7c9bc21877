"""The way from items to rows by view: each view's vectors at length one, and zeros where an item lacks the view.

* `text`: the content encoder's vector of the item's words.
* `segments`: mean of the vectors of all its stretches, each weighted by its duration; `segments.dialogue` (or another
  field): of that field alone.
* any other name: the precomputed vector that came with the item.

Rows lie on the grid of `tokenizer/arrays/grid.py`; a row depends on its item alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sidestream.tokenizer.arrays.grid import CONTENT_BITS, MAX_DIM, Exact, require_rows, unit_rows
from sidestream.tokenizer.content import ContentEncoder
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.views.item import SEGMENT_FIELDS, SEGMENTS_VIEW, TEXT_VIEW, ContentSegment, ItemContent

_WORD_VIEWS = (TEXT_VIEW, SEGMENTS_VIEW, *(f"{SEGMENTS_VIEW}.{name}" for name in SEGMENT_FIELDS))


def view_dims(names: Sequence[str], items: Sequence[ItemContent], encoder: ContentEncoder) -> dict[str, int]:
    """Find how long the vectors of each view are.

    Args:
        names: Views, no two equal.
        items: Items to fit on; the first that has a precomputed view decides its length.
        encoder: Decides the length of the views made of words.

    Returns:
        Dimensions by view, in the order given.

    Raises:
        TokenizerError: A name comes twice, is no known view of words, no item has the view, or all views together are
            longer than `MAX_DIM`.
    """
    dims: dict[str, int] = {}
    for name in names:
        if name in dims or (name.partition(".")[0] == SEGMENTS_VIEW and name not in _WORD_VIEWS):
            msg = f"views: expected each once, and of words {', '.join(_WORD_VIEWS)} alone, got {name!r} in {[*names]}"
            raise TokenizerError(msg)
        found = (len(item.views[name]) for item in items if name in item.views)
        dims[name] = encoder.dim if name in _WORD_VIEWS else next(found, 0)
        if not dims[name]:
            msg = f"view {name!r}: no item has numbers for it; leave it out of tokenizer.views, or publish it"
            raise TokenizerError(msg)
    if sum(dims.values()) > MAX_DIM:
        msg = f"views: expected at most {MAX_DIM} dimensions together, got {dims}; leave one out, or shorten it"
        raise TokenizerError(msg)
    return dims


def read_views(items: Sequence[ItemContent], dims: Mapping[str, int], encoder: ContentEncoder) -> list[Exact]:
    """Give each view's rows.

    Args:
        items: Items.
        dims: Dimensions by view.
        encoder: Turns words into vectors.

    Returns:
        For each view, in the order of `dims`, a row of length one for each item, or of zeros where it lacks the view.

        Shape: (num_items, dimensions of the view).

    Raises:
        TokenizerError: A precomputed vector has another length, holds NaN or infinity, or is all zeros; or the encoder
            gave vectors that do not fit.
    """
    return [_rows(name, dim, items, encoder) for name, dim in dims.items()]


def _rows(name: str, dim: int, items: Sequence[ItemContent], encoder: ContentEncoder) -> Exact:
    if name == TEXT_VIEW:
        return _words([item.text for item in items], dim, encoder)
    if name in _WORD_VIEWS:
        return _pooled(name.partition(".")[2], dim, items, encoder)
    rows = np.zeros((len(items), dim))
    for row, item in enumerate(items):
        if name in item.views:
            rows[row] = _vector(name, item.views[name], dim)
    return unit_rows(rows, CONTENT_BITS)


def _words(texts: Sequence[str], dim: int, encoder: ContentEncoder) -> Exact:
    return unit_rows(require_rows(encoder.encode(texts), dim, f"vectors of {encoder.name}"), CONTENT_BITS)


def _pooled(field: str, dim: int, items: Sequence[ItemContent], encoder: ContentEncoder) -> Exact:
    spans: list[tuple[int, ContentSegment]] = [
        (row, segment)
        for row, item in enumerate(items)
        for segment in item.segments
        if not field or segment.field == field
    ]
    sums = np.zeros((len(items), dim))
    vectors = _words([segment.text for _, segment in spans], dim, encoder)
    for (row, segment), vector in zip(spans, vectors, strict=True):
        # Whole milliseconds times grid steps: exact in any order.
        sums[row] += vector * (segment.end_ms - segment.start_ms)
    return unit_rows(sums, CONTENT_BITS)


def _vector(name: str, numbers: Sequence[float], dim: int) -> Exact:
    vector: Exact = np.asarray(numbers, dtype=np.float64)
    if vector.shape != (dim,):
        msg = f"view {name!r}: wrong size: expected {dim} numbers as when it was fitted, got {vector.size}"
        raise TokenizerError(msg)
    finite = np.isfinite(vector)
    if not finite.all():
        msg = f"view {name!r}: number {int(np.argmin(finite))} of {dim} is NaN or infinity; check what produced it"
        raise TokenizerError(msg)
    if not vector.any():
        msg = f"view {name!r}: all {dim} numbers are zero, which points nowhere; leave the view out of the item"
        raise TokenizerError(msg)
    return vector
