"""Fold of live items: catalogue events, segments and listener sums into the item's state and SIDs.

Every step is a pure function of the state, one record and the frozen codebooks, and decides immediately whether the SID
changes. So the batching of records is irrelevant, and a restart anywhere gives the same bytes. A record at or below its
source's watermark changes nothing: `LiveUpdate.is_new` is false, and the caller publishes the current state again.

The interleaving of records from different sources is not fixed and does not matter: each has its own time, listener
sums are merged in any order, and the window consists of the segments that ended last in stream time, however late they
arrived.

A restart of a stream's clock is recognised by a segment that is newer than all others but ended long before them: a new
window starts with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from sidestream.tokenizer.live.choice import choose_sid, fuse
from sidestream.tokenizer.live.codebooks import LiveCodebooks
from sidestream.tokenizer.live.settings import LiveSettings
from sidestream.tokenizer.live.state import HOUR_MS, MAX_CHANGES, LiveState, Partial, Span, View
from sidestream.tokenizer.live.vectors import Float64, decay, pack, unpack
from sidestream.tokenizer.sid import Sid

# Listener sums worth less than a hundredth of a listen are dropped.
_LEAST_WEIGHT = 0.01

Codebooks = Mapping[str, LiveCodebooks]


class OwnContent(NamedTuple):
    """SID and vector of an item from its own text alone.

    Attributes:
        sid: The SID.
        vector: The vector as published, int8 components.
        scale: Component = int8 * scale.
        components: The vector in floating point. Shape: (D,).
    """

    sid: Sid
    vector: bytes
    scale: float
    components: Float64


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a live item.

    Attributes:
        offset: Source offset of its record.
        at: Time of its end, epoch ms.
        start_ms: Start in stream time.
        end_ms: End in stream time, after the start.
        text: Text of the segment.
        field: What the text describes; None if unspecified.
    """

    offset: int
    at: int
    start_ms: int
    end_ms: int
    text: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class LiveUpdate:
    """Result of folding one record.

    Attributes:
        state: The item's state afterwards.
        is_new: Whether the record changed the state; false for a repeat.
        changed: Tokenizer versions under which the SID changed.
    """

    state: LiveState
    is_new: bool = True
    changed: tuple[str, ...] = ()


def fold_item(
    state: LiveState | None,
    item: bytes,
    offset: int,
    own: Mapping[str, OwnContent],
    codebooks: Codebooks,
    settings: LiveSettings,
) -> LiveUpdate:
    """Fold a catalogue event of a live item.

    Args:
        state: The item's state; None for a new item.
        item: The catalogue's value.
        offset: Source offset of the catalogue event.
        own: SID and vector from the item's own text, by tokenizer version; views of other versions are dropped.
        codebooks: Loaded tokenizers by version.
        settings: How to fuse vectors and choose SIDs.

    Returns:
        The update. An event of equal offset is new if it has other tokenizer versions.
    """
    if state is not None and (
        offset < state.source_offset or (offset == state.source_offset and set(own) == set(state.views))
    ):
        return LiveUpdate(state, is_new=False)
    before = state or LiveState(item=item, source_offset=offset)
    views = {
        version: replace(view, own=pack(words.components))
        if (view := before.views.get(version)) is not None
        else _initial_view(words)
        for version, words in sorted(own.items())
    }
    revision = before.revision + 1 if before.source_offset == offset and state is not None else 0
    taken = replace(
        before,
        item=item,
        source_offset=offset,
        revision=revision,
        views=views,
    )
    # The item's time is that of its listens and segments: an event dated in the future must not advance it.
    at = before.newest_at
    if not taken.spans and not taken.partials:
        plain = {version: _initial_view(own[version]) for version in views}
        changed = tuple(v for v, view in plain.items() if v in before.views and before.views[v].sid != view.sid)
        return LiveUpdate(_with_change(replace(taken, views=plain), changed, at), changed=changed)
    return _choose_sids(taken, at, codebooks, settings, counts=False)


def fold_segment(
    state: LiveState, item_id: str, segment: Segment, codebooks: Codebooks, settings: LiveSettings
) -> LiveUpdate:
    """Fold a segment of a live item.

    Args:
        state: The item's state.
        item_id: Id of the item.
        segment: The segment; a repeat if its offset is not above all before it.
        codebooks: Loaded tokenizers by version.
        settings: How to fuse vectors and choose SIDs.

    Returns:
        The update.
    """
    if segment.offset <= state.segments_offset:
        return LiveUpdate(state, is_new=False)
    restarted = segment.at > state.segment_at and segment.end_ms <= state.end_ms - settings.window_ms
    end_ms = segment.end_ms if restarted else max(state.end_ms, segment.end_ms)
    kept_ms = 0 if restarted or state.end_ms < 0 else end_ms - state.end_ms
    span = Span(segment.end_ms, segment.start_ms, segment.offset, segment.text, segment.field or "")
    spans = tuple(
        sorted(s for s in (*(() if restarted else state.spans), span) if s.end_ms > end_ms - settings.window_ms)
    )[-settings.max_window_segments :]
    views = {}
    for version, view in state.views.items():
        if version not in codebooks:
            views[version] = view
            continue
        vector = pack(codebooks[version].represent(item_id, segment.text, segment.field))
        weight = (segment.end_ms - segment.start_ms) * decay(end_ms - segment.end_ms, settings.long_half_life_s)
        long_term = view.long_term.with_vector(unpack(vector), weight, decay(kept_ms, settings.long_half_life_s))
        known = {**view.window, span.offset: vector}
        views[version] = replace(view, window=_window(item_id, spans, known, codebooks[version]), long_term=long_term)
    taken = replace(
        state,
        segments_offset=segment.offset,
        segment_at=max(state.segment_at, segment.at),
        end_ms=end_ms,
        newest_at=max(state.newest_at, segment.at),
        spans=spans,
        views=views,
    )
    return _choose_sids(taken, segment.at, codebooks, settings)


def fold_listeners(state: LiveState, partial: Partial, codebooks: Codebooks, settings: LiveSettings) -> LiveUpdate:
    """Fold a partition's sum of an item's listeners; the order of sums does not matter.

    Args:
        state: The item's state.
        partial: The sum; of several states of one sum the one with the highest offset applies.
        codebooks: Loaded tokenizers by version.
        settings: How to fuse vectors and choose SIDs.

    Returns:
        The update.
    """
    sums = {(one.partition, one.since): one for one in state.partials}
    before = sums.get((partial.partition, partial.since))
    newest_at = max(state.newest_at, partial.at)
    # A sum without weight by now may have been folded and dropped before: a replay of it must not change anything.
    if (before is not None and before.offset >= partial.offset) or not _has_weight(partial, newest_at, settings):
        return LiveUpdate(state, is_new=False)
    sums[partial.partition, partial.since] = replace(partial, means=dict(sorted(partial.means.items())))
    kept = tuple(one for _, one in sorted(sums.items()) if _has_weight(one, newest_at, settings))
    taken = replace(state, partials=kept, newest_at=newest_at)
    return _choose_sids(taken, partial.at, codebooks, settings)


def _window(
    item_id: str, spans: tuple[Span, ...], known: Mapping[int, bytes], codebooks: LiveCodebooks
) -> dict[int, bytes]:
    """Return the vectors of all segments of the window; encode those that this tokenizer has not seen."""
    return {
        span.offset: known[span.offset]
        if span.offset in known
        else pack(codebooks.represent(item_id, span.text, span.field or None))
        for span in spans
    }


def _initial_view(words: OwnContent) -> View:
    packed = pack(words.components)
    return View(packed, words.sid, words.vector, words.scale, anchor=packed)


def _has_weight(partial: Partial, now_ms: int, settings: LiveSettings) -> bool:
    left = decay(max(0, now_ms - partial.at), settings.listener_half_life_s)
    return any(listening.weight * left >= _LEAST_WEIGHT for listening in partial.means.values())


def _choose_sids(
    state: LiveState, at: int, codebooks: Codebooks, settings: LiveSettings, *, counts: bool = True
) -> LiveUpdate:
    """Re-evaluate the SIDs of all loaded tokenizers.

    Args:
        state: The item's state.
        at: Time of the change, epoch ms.
        codebooks: Loaded tokenizers by version; views of other versions are unchanged.
        settings: How to fuse vectors and choose SIDs.
        counts: Whether a change of the SID increments the revision.

    Returns:
        The update.
    """
    views = {
        version: choose_sid(view, fuse(state, version, settings), at, codebooks[version], settings)
        if version in codebooks
        else view
        for version, view in state.views.items()
    }
    changed = tuple(version for version, view in views.items() if view.sid != state.views[version].sid)
    revision = state.revision + bool(changed and counts)
    return LiveUpdate(_with_change(replace(state, views=views, revision=revision), changed, at), changed=changed)


def _with_change(state: LiveState, changed: tuple[str, ...], at: int) -> LiveState:
    """Record a change of the SID."""
    if not changed:
        return state
    times = tuple(t for t in (*state.changed_at, at) if t > state.newest_at - HOUR_MS)[-MAX_CHANGES:]
    return replace(state, num_changes=state.num_changes + 1, changed_at=times)
