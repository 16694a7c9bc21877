"""Owns the SID of a live item: how its vectors are fused, and when another SID takes over.

Each part is scaled to length one, weighted and added, and the sum scaled again; parts that are not there yet are left
out. A SID is not replaced by whatever is nearest at the moment: codes flip at the borders of their cells, and every
flip is an update of the whole catalogue. Another SID takes over where it is nearer by a margin, or stays the nearest
for some windows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from tokenizer.grid import VECTOR_BITS, unit_rows
from tokenizer.live.books import LiveBooks
from tokenizer.live.settings import LiveSettings
from tokenizer.live.state import LiveState, Partial, Span, View
from tokenizer.live.vectors import Float64, decay, mean_of, unit, unpack
from tokenizer.tokenizer import quantize_rows


def fused(state: LiveState, version: str, settings: LiveSettings) -> npt.NDArray[np.float32]:
    """Fuse what is known of an item into one vector.

    Args:
        state: The item.
        version: Tokenizer version; the state has a view of it.
        settings: The weights.

    Returns:
        A vector of length one on the grid of representation vectors.

        Shape: (D,).
    """
    view = state.views[version]
    own = unpack(view.own)
    dim = own.size
    parts = [(settings.own_weight, own)]
    window, length_ms = window_mean(state.spans, view.window, dim)
    if length_ms > 0:
        parts.append((settings.window_weight, window))
    long_term = view.long_term.mean()
    if long_term is not None:
        parts.append((settings.long_weight, long_term))
    listeners, heard = listeners_mean(state.partials, version, state.newest_at, settings.listener_half_life_s, dim)
    if heard > 0:
        parts.append((settings.listener_weight * heard / (heard + settings.listener_prior), listeners))
    total = np.zeros(dim)
    for weight, part in parts:
        total += weight * unit(part)
    # Where everything cancels or weighs nothing the item's own words speak.
    vector: npt.NDArray[np.float32] = unit_rows((total if total.any() else own)[None, :], VECTOR_BITS)[0].astype(
        np.float32
    )
    return vector


def window_mean(spans: Sequence[Span], vectors: Mapping[int, bytes], dim: int) -> tuple[Float64, float]:
    """Weigh the segments of a window by their length.

    Args:
        spans: The segments.
        vectors: Packed vectors by source offset.
        dim: D.

    Returns:
        Mean and total length in ms; the order of the segments does not matter.
    """
    known = ((span, vectors[span.offset]) for span in spans if span.offset in vectors)
    return mean_of(((float(span.end_ms - span.start_ms), unpack(packed)) for span, packed in known), dim)


def listeners_mean(
    partials: Sequence[Partial], version: str, now_ms: int, half_life_s: float, dim: int
) -> tuple[Float64, float]:
    """Put together what all partitions say of an item's listeners.

    Args:
        partials: What they say, in their order.
        version: Tokenizer version.
        now_ms: Time that weights are decayed to, epoch ms.
        half_life_s: Half-life of a listen.
        dim: D; a mean of another length is left out.

    Returns:
        Mean vector and the listens that it stands for.
    """
    told = [
        (listening.weight * decay(max(0, now_ms - partial.at), half_life_s), listening)
        for partial in partials
        if (listening := partial.means.get(version)) is not None and len(listening.vector) == dim
    ]
    return mean_of(
        (
            (weight, np.frombuffer(listening.vector, dtype=np.int8) * np.float64(listening.scale))
            for weight, listening in told
        ),
        dim,
    )


def chosen(view: View, vector: npt.NDArray[np.float32], at: int, books: LiveBooks, settings: LiveSettings) -> View:
    """Decide which SID stands.

    Args:
        view: The item as it stands.
        vector: What is known of it now.

            Shape: (D,).
        at: Time of what changed it, epoch ms.
        books: The tokenizer.
        settings: Margin and hold.

    Returns:
        The view, with another SID and the vector where one takes over.
    """
    nearest = books.encode(vector)
    if nearest == view.sid:
        return replace(view, rival=(), rival_since=0)
    now, then = books.distance(vector, view.sid), books.distance(vector, nearest)
    if then >= now:  # codes are chosen level by level: the nearest path is not always the nearest point
        return replace(view, rival=(), rival_since=0)
    if now - then >= settings.margin * now:
        return taken_over(view, nearest, vector)
    if nearest != view.rival:
        return replace(view, rival=nearest, rival_since=at)
    held_ms = at - view.rival_since
    if settings.hold_windows and held_ms >= settings.hold_windows * settings.window_ms:
        return taken_over(view, nearest, vector)
    return view


def taken_over(view: View, sid: tuple[int, ...], vector: npt.NDArray[np.float32]) -> View:
    """Give an item another SID.

    Args:
        view: The item.
        sid: The SID.
        vector: The vector that it stands for.

            Shape: (D,).

    Returns:
        The view with both.
    """
    quantized, scales = quantize_rows(vector[None, :])
    return replace(view, sid=sid, vector=quantized[0].tobytes(), scale=float(scales[0]), rival=(), rival_since=0)
