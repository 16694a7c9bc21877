"""The fold of live items: catalogue events, segments and listeners in, the item's state and its SIDs out.

Every step is a pure function of the state, one record and the frozen codebooks, and decides at once whether the SID
changes. So it is all the same how records are batched, and a restart anywhere gives the same bytes. A record at or
below its source's watermark changes nothing: `LiveUpdate.is_new` is false, and the caller sends again what stands.

How records of different sources interleave is not fixed, and need not be: each is dated by itself, listeners' sums are
merged in any order, and the window is what ended last in the time of the stream, however late it came.

A stream whose clock starts anew is seen by a segment that is newer than all others, but ended long before them: its
window begins with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from sidestream.tokenizer.live.choice import chosen, fused
from sidestream.tokenizer.live.codebooks import LiveCodebooks
from sidestream.tokenizer.live.settings import LiveSettings
from sidestream.tokenizer.live.state import HOUR_MS, MAX_CHANGES, LiveState, Partial, Span, View
from sidestream.tokenizer.live.vectors import Float64, decay, pack, unpack
from sidestream.tokenizer.sid import Sid

# Listeners that count for less than a hundredth of one are forgotten.
_LEAST_WEIGHT = 0.01

Codebooks = Mapping[str, LiveCodebooks]


class OwnContent(NamedTuple):
    """An item as its words alone make it.

    Attributes:
        sid: Its SID.
        vector: Its vector as published, int8 components.
        scale: Component = int8 * scale.
        components: The vector. Shape: (D,).
    """

    sid: Sid
    vector: bytes
    scale: float
    components: Float64


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as it is folded.

    Attributes:
        offset: Source offset of its record.
        at: When it was over, epoch ms.
        start_ms: Its start, in time of the stream.
        end_ms: Its end, after its start.
        text: Its words.
        field: What they describe; None where that is not said.
    """

    offset: int
    at: int
    start_ms: int
    end_ms: int
    text: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class LiveUpdate:
    """What one record made of an item.

    Attributes:
        state: The item.
        is_new: Whether the record was folded now; false where it was before.
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
    """Take what the catalogue says of a live item.

    Args:
        state: The item; None where it is new.
        item: The catalogue's value.
        offset: Source offset of the catalogue event.
        own: The item as its words make it, by tokenizer version; others are forgotten.
        codebooks: Tokenizers that are loaded.
        settings: How to fuse and choose.

    Returns:
        The item. Of equal offset is news what tells of other tokenizer versions.
    """
    if state is not None and (
        offset < state.source_offset or (offset == state.source_offset and set(own) == set(state.views))
    ):
        return LiveUpdate(state, is_new=False)
    before = state or LiveState(item=item, source_offset=offset)
    views = {
        version: replace(view, own=pack(words.components))
        if (view := before.views.get(version)) is not None
        else _plain(words)
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
    # The time of its listens and segments goes on: an event that is published for later must not move it.
    at = before.newest_at
    if not taken.spans and not taken.partials:
        plain = {version: _plain(own[version]) for version in views}
        changed = tuple(v for v, view in plain.items() if v in before.views and before.views[v].sid != view.sid)
        return LiveUpdate(_noted(replace(taken, views=plain), changed, at), changed=changed)
    return _chosen(taken, at, codebooks, settings, counts=False)


def fold_segment(
    state: LiveState, item_id: str, segment: Segment, codebooks: Codebooks, settings: LiveSettings
) -> LiveUpdate:
    """Take a segment of a live item.

    Args:
        state: The item.
        item_id: Its id.
        segment: The segment, of a higher offset than all before it; else it is no news.
        codebooks: Tokenizers that are loaded.
        settings: How to fuse and choose.

    Returns:
        The item.
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
        long_term = view.long_term.plus(unpack(vector), weight, decay(kept_ms, settings.long_half_life_s))
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
    return _chosen(taken, segment.at, codebooks, settings)


def fold_listeners(state: LiveState, partial: Partial, codebooks: Codebooks, settings: LiveSettings) -> LiveUpdate:
    """Take what a partition of the listens says of an item's listeners; in any order.

    Args:
        state: The item.
        partial: What it says; of one sum the highest offset stands.
        codebooks: Tokenizers that are loaded.
        settings: How to fuse and choose.

    Returns:
        The item.
    """
    sums = {(one.partition, one.since): one for one in state.partials}
    before = sums.get((partial.partition, partial.since))
    newest_at = max(state.newest_at, partial.at)
    # One that counts for nothing by now may have been folded and forgotten: a replay must not decide anything.
    if (before is not None and before.offset >= partial.offset) or not _counts(partial, newest_at, settings):
        return LiveUpdate(state, is_new=False)
    sums[partial.partition, partial.since] = replace(partial, means=dict(sorted(partial.means.items())))
    kept = tuple(one for _, one in sorted(sums.items()) if _counts(one, newest_at, settings))
    taken = replace(state, partials=kept, newest_at=newest_at)
    return _chosen(taken, partial.at, codebooks, settings)


def _window(
    item_id: str, spans: tuple[Span, ...], known: Mapping[int, bytes], codebooks: LiveCodebooks
) -> dict[int, bytes]:
    """Give every segment of the window its vector: those from before this tokenizer are encoded now."""
    return {
        span.offset: known[span.offset]
        if span.offset in known
        else pack(codebooks.represent(item_id, span.text, span.field or None))
        for span in spans
    }


def _plain(words: OwnContent) -> View:
    packed = pack(words.components)
    return View(packed, words.sid, words.vector, words.scale, anchor=packed)


def _counts(partial: Partial, now_ms: int, settings: LiveSettings) -> bool:
    left = decay(max(0, now_ms - partial.at), settings.listener_half_life_s)
    return any(listening.weight * left >= _LEAST_WEIGHT for listening in partial.means.values())


def _chosen(
    state: LiveState, at: int, codebooks: Codebooks, settings: LiveSettings, *, counts: bool = True
) -> LiveUpdate:
    """Choose the SIDs anew.

    Args:
        state: The item.
        at: Time of what changed it, epoch ms.
        codebooks: Tokenizers that are loaded; other views stay as they are.
        settings: How to fuse and choose.
        counts: Whether a change is a revision of its own.

    Returns:
        The item.
    """
    views = {
        version: chosen(view, fused(state, version, settings), at, codebooks[version], settings)
        if version in codebooks
        else view
        for version, view in state.views.items()
    }
    changed = tuple(version for version, view in views.items() if view.sid != state.views[version].sid)
    revision = state.revision + bool(changed and counts)
    return LiveUpdate(_noted(replace(state, views=views, revision=revision), changed, at), changed=changed)


def _noted(state: LiveState, changed: tuple[str, ...], at: int) -> LiveState:
    """Count a change."""
    if not changed:
        return state
    times = tuple(t for t in (*state.changed_at, at) if t > state.newest_at - HOUR_MS)[-MAX_CHANGES:]
    return replace(state, num_changes=state.num_changes + 1, changed_at=times)
