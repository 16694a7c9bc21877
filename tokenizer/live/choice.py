"""Choice of a live item's SID: fusion of its vectors, and the rule for replacing the SID.

Each part is scaled to unit length, weighted and added, and the sum is scaled again; parts without data are omitted. The
SID is not simply replaced by the currently nearest one: the last codes encode details that change with every sentence,
and every change is a catalogue update everywhere. A new SID is chosen if it is nearer and the vector has moved away
from the one that the current SID was chosen for, or if it stays the nearest for some windows. A SID chosen in the
middle of a change is re-evaluated one window later, and so is that of a new item. Distances to the codebooks are no
criterion: fused vectors are between catalogue items, far from all of them (0.46 squared, while a steady stream varies
by 0.1 and a change of topic is 1.0; real sentences, the shipped codebooks).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from sidestream.tokenizer.arrays.grid import VECTOR_BITS, unit_rows
from sidestream.tokenizer.arrays.int8 import quantize_rows
from sidestream.tokenizer.live.codebooks import LiveCodebooks
from sidestream.tokenizer.live.settings import LiveSettings
from sidestream.tokenizer.live.state import SETTLED, LiveState, Partial, Span, View
from sidestream.tokenizer.live.vectors import Float64, decay, pack, unit, unpack, weighted_mean
from sidestream.tokenizer.sid import Sid


def fuse(state: LiveState, version: str, settings: LiveSettings) -> npt.NDArray[np.float32]:
    """Fuse the parts of an item's state into one vector.

    Args:
        state: The item.
        version: Tokenizer version, for which the state has a view.
        settings: The weights.

    Returns:
        A unit vector on the grid of representation vectors.

        Shape: (D,).
    """
    view = state.views[version]
    own = unpack(view.own)
    dim = own.size
    parts = [(settings.own_weight, own)]
    window, length_ms = window_mean(state.spans, view.window, dim)
    if length_ms > 0:
        # A few seconds are noise: a window is weighted by the share of it that segments fill.
        parts.append((settings.window_weight * min(1.0, length_ms / settings.window_ms), window))
    long_term = view.long_term.mean()
    if long_term is not None:
        parts.append((settings.long_weight, long_term))
    listeners, heard = listeners_mean(state.partials, version, state.newest_at, settings.listener_half_life_s, dim)
    if heard > 0:
        parts.append((settings.listener_weight * heard / (heard + settings.listener_prior), listeners))
    total = np.zeros(dim)
    for weight, part in parts:
        total += weight * unit(part)
    # If everything cancels or has no weight, the item's own text decides.
    vector: npt.NDArray[np.float32] = unit_rows((total if total.any() else own)[None, :], VECTOR_BITS)[0].astype(
        np.float32
    )
    return vector


def window_mean(spans: Sequence[Span], vectors: Mapping[int, bytes], dim: int) -> tuple[Float64, float]:
    """Average the segments of a window, weighted by their length.

    Args:
        spans: The segments.
        vectors: Packed vectors by source offset.
        dim: D.

    Returns:
        Mean and total length in ms; the order of the segments does not matter.
    """
    known = ((span, vectors[span.offset]) for span in spans if span.offset in vectors)
    return weighted_mean(((float(span.end_ms - span.start_ms), unpack(packed)) for span, packed in known), dim)


def listeners_mean(
    partials: Sequence[Partial], version: str, now_ms: int, half_life_s: float, dim: int
) -> tuple[Float64, float]:
    """Combine all partitions' sums of an item's listeners.

    Args:
        partials: The sums, in their order.
        version: Tokenizer version.
        now_ms: Time to which weights are decayed, epoch ms.
        half_life_s: Half-life of a listen.
        dim: D; means of another dimension are ignored.

    Returns:
        Mean vector, and its weight in listens.
    """
    weighted = [
        (listening.weight * decay(max(0, now_ms - partial.at), half_life_s), listening)
        for partial in partials
        if (listening := partial.means.get(version)) is not None and len(listening.vector) == dim
    ]
    return weighted_mean(
        (
            (weight, np.frombuffer(listening.vector, dtype=np.int8) * np.float64(listening.scale))
            for weight, listening in weighted
        ),
        dim,
    )


def choose_sid(
    view: View, vector: npt.NDArray[np.float32], at: int, codebooks: LiveCodebooks, settings: LiveSettings
) -> View:
    """Decide whether the SID is replaced.

    Args:
        view: The item's current view.
        vector: The item's current fused vector.

            Shape: (D,).
        at: Time of the change, epoch ms.
        codebooks: The tokenizer.
        settings: When a SID is replaced.

    Returns:
        The view, with a new SID and vector if it was replaced.
    """
    if not view.settles_at and view.window:
        view = replace(view, settles_at=_later(at, settings))
    settles = 0 < view.settles_at <= at
    nearest = codebooks.encode(vector)
    # Codes are chosen level by level: the best path is not always the nearest point.
    is_other = nearest != view.sid and codebooks.distance(vector, nearest) < codebooks.distance(vector, view.sid)
    if settles:
        settled = replace(view, anchor=pack(vector), settles_at=SETTLED, rival=(), rival_since=0)
        return _with_sid(settled, nearest, vector) if is_other else settled
    if not is_other:
        return replace(view, rival=(), rival_since=0)
    held = nearest == view.rival and at - view.rival_since >= settings.hold_windows * settings.window_ms > 0
    if held or distance_moved(view, vector) >= settings.move:
        # The vector may still be moving.
        taken = replace(view, anchor=pack(vector), settles_at=_later(at, settings), rival=(), rival_since=0)
        return _with_sid(taken, nearest, vector)
    return view if nearest == view.rival else replace(view, rival=nearest, rival_since=at)


def distance_moved(view: View, vector: npt.NDArray[np.float32]) -> float:
    """Measure how far an item has moved since its SID was chosen.

    Args:
        view: The item's current view.
        vector: The item's current fused vector.

            Shape: (D,).

    Returns:
        1 - cosine; 1 if one of the vectors is zero.
    """
    return 1.0 - float(unit(unpack(view.anchor)) @ unit(vector))


def _later(at: int, settings: LiveSettings) -> int:
    return at + round(settings.window_ms)


def _with_sid(view: View, sid: Sid, vector: npt.NDArray[np.float32]) -> View:
    quantized, scales = quantize_rows(vector[None, :])
    return replace(view, sid=sid, vector=quantized[0].tobytes(), scale=float(scales[0]))
