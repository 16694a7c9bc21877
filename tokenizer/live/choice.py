"""The SID of a live item: how its vectors are fused, and when another SID takes over.

Each part is scaled to length one, weighted and added, and the sum scaled again; parts that are not there yet are left
out. A SID is not replaced by whatever is nearest at the moment: the last codes name details that change with every
sentence, and every change is an update of the catalogue everywhere. Another SID takes over where it is nearer and the
vector has moved away from the one that the present SID was chosen for, or where it stays the nearest for some windows.
Whatever took over in the middle of a change is looked at once more, one window later, and so is a new item.
Distances to the codebooks cannot tell: fused vectors lie between catalogue items, far from all of them (0.46 squared,
while one steady stream wanders by 0.1 and a change of topic is 1.0; real sentences, the shipped codebooks).
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
from sidestream.tokenizer.live.vectors import Float64, decay, mean_of, pack, unit, unpack
from sidestream.tokenizer.sid import Sid


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
        # A few seconds are noise: what came of a window counts by how much of it they fill.
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


def chosen(
    view: View, vector: npt.NDArray[np.float32], at: int, codebooks: LiveCodebooks, settings: LiveSettings
) -> View:
    """Decide which SID stands.

    Args:
        view: The item as it stands.
        vector: What is known of it now.

            Shape: (D,).
        at: Time of what changed it, epoch ms.
        codebooks: The tokenizer.
        settings: When another SID takes over.

    Returns:
        The view, with another SID and the vector where one takes over.
    """
    if not view.settles_at and view.window:
        view = replace(view, settles_at=_later(at, settings))
    settles = 0 < view.settles_at <= at
    nearest = codebooks.encode(vector)
    # Codes are chosen level by level: the nearest path is not always the nearest point.
    is_other = nearest != view.sid and codebooks.distance(vector, nearest) < codebooks.distance(vector, view.sid)
    if settles:
        settled = replace(view, anchor=pack(vector), settles_at=SETTLED, rival=(), rival_since=0)
        return _with_sid(settled, nearest, vector) if is_other else settled
    if not is_other:
        return replace(view, rival=(), rival_since=0)
    held = nearest == view.rival and at - view.rival_since >= settings.hold_windows * settings.window_ms > 0
    if held or moved(view, vector) >= settings.move:
        # It may be on its way still.
        taken = replace(view, anchor=pack(vector), settles_at=_later(at, settings), rival=(), rival_since=0)
        return _with_sid(taken, nearest, vector)
    return view if nearest == view.rival else replace(view, rival=nearest, rival_since=at)


def moved(view: View, vector: npt.NDArray[np.float32]) -> float:
    """Measure how far an item is from where its SID was chosen.

    Args:
        view: The item as it stands.
        vector: What is known of it now.

            Shape: (D,).

    Returns:
        1 - cosine; 1 where one of them is zero.
    """
    return 1.0 - float(unit(unpack(view.anchor)) @ unit(vector))


def _later(at: int, settings: LiveSettings) -> int:
    return at + round(settings.window_ms)


def _with_sid(view: View, sid: Sid, vector: npt.NDArray[np.float32]) -> View:
    quantized, scales = quantize_rows(vector[None, :])
    return replace(view, sid=sid, vector=quantized[0].tobytes(), scale=float(scales[0]))
