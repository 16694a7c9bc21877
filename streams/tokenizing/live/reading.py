"""Decodes and encodes the records of live items: segments, listener sums and the catalogue's values."""

import base64
from collections.abc import Mapping

import numpy as np

from sidestream.models.records import ItemSids, ListenerMean, LiveListeners, LiveSegment, TokenizedItem
from sidestream.streams.contracts.decode import Limits, Reason, decode_of_item
from sidestream.streams.errors import BadRecord, TokenizerError
from sidestream.tokenizer.content import MAX_TEXT_CHARS
from sidestream.tokenizer.live import Listening, LiveState, OwnContent, Partial, Segment
from sidestream.tokenizer.views import ContentSegment, ItemContent


def decode_segment(
    key: bytes | None, value: bytes | None, timestamp_ms: int, limits: Limits, max_segment_s: float
) -> LiveSegment:
    """Decode one value of `live-segments.v1`.

    Args:
        key: Record key, must be the `item_id`.
        value: Record value.
        timestamp_ms: The record's Kafka timestamp; -1 if it has none.
        limits: Bounds that the record must keep.
        max_segment_s: Longest segment in seconds.

    Returns:
        The segment.

    Raises:
        BadRecord: Key or value break the contract; a malformed span is described as in catalogue items.
    """
    segment = decode_of_item(LiveSegment, key, value, timestamp_ms, limits)
    if segment.end_ms - segment.start_ms > max_segment_s * 1e3:
        detail = f"long span: expected at most {max_segment_s:g} s, got {segment.start_ms} to {segment.end_ms} ms"
        raise BadRecord(Reason.BAD_VALUE, detail)
    span = ContentSegment(segment.start_ms, segment.end_ms, segment.text, segment.field)
    try:
        ItemContent(segment.item_id, segments=(span,))
    except TokenizerError as exc:
        raise BadRecord(Reason.BAD_VALUE, str(exc)) from exc
    return segment


def decode_listeners(
    key: bytes | None, value: bytes | None, timestamp_ms: int, limits: Limits
) -> tuple[LiveListeners, Partial]:
    """Decode one value of `live-listeners.v1`.

    Args:
        key: Record key, must be the `item_id`.
        value: Record value.
        timestamp_ms: The record's Kafka timestamp; -1 if it has none.
        limits: Bounds that the record must keep.

    Returns:
        The value, and the sum in it.

    Raises:
        BadRecord: Key or value break the contract.
    """
    listeners = decode_of_item(LiveListeners, key, value, timestamp_ms, limits)
    means = {version: _listening(version, mean) for version, mean in sorted(listeners.means.items())}
    return listeners, Partial(listeners.partition, listeners.since, listeners.offset, listeners.at, means)


def _listening(version: str, mean: ListenerMean) -> Listening:
    try:
        vector = base64.b64decode(mean.vector, validate=True)
    except ValueError as exc:  # bad padding or alphabet, or characters beyond ASCII
        raise BadRecord(Reason.BAD_VALUE, f"means.{version}.vector: not base64 ({exc})") from exc
    return Listening(vector, mean.vector_scale, mean.weight)


def listeners_value(item_id: str, partial: Partial) -> bytes:
    """Encode a sum as a value of `live-listeners.v1`: JSON."""
    return LiveListeners(
        item_id=item_id,
        at=partial.at,
        partition=partial.partition,
        since=partial.since,
        offset=partial.offset,
        means={
            version: ListenerMean(vector=_text(mean.vector), vector_scale=mean.scale, weight=mean.weight)
            for version, mean in partial.means.items()
        },
    ).to_json()


def segment_of(segment: LiveSegment, offset: int) -> Segment:
    """Convert a decoded segment into the form that is applied to a state.

    Args:
        segment: The value.
        offset: Its source offset.

    Returns:
        The segment. Its text is cut to the length that encoders read, because states store it.
    """
    return Segment(offset, segment.at, segment.start_ms, segment.end_ms, segment.text[:MAX_TEXT_CHARS], segment.field)


def own_words(value: ItemSids) -> Mapping[str, OwnContent]:
    """Return SID and vector of an item's own text, by tokenizer version, from the catalogue agent's value."""
    own = {}
    for version, tokenized in value.versions.items():
        vector = base64.b64decode(tokenized.vector)
        components = np.frombuffer(vector, dtype=np.int8) * np.float64(tokenized.vector_scale)
        own[version] = OwnContent(tokenized.sid, vector, tokenized.vector_scale, components)
    return own


def value_of(state: LiveState) -> ItemSids:
    """Return the current `item-sids.v1` value of a live item: the catalogue's value with the item's current SIDs.

    Args:
        state: The item's state.

    Returns:
        The value; equal states give the same bytes.
    """
    item = ItemSids.from_json(state.item)
    if not state.spans and not state.partials:
        return item.model_copy(update={"revision": state.revision or None})
    versions = {
        version: TokenizedItem(sid=view.sid, vector=_text(view.vector), vector_scale=view.scale)
        for version, view in state.views.items()
    }
    return item.model_copy(update={"versions": item.versions | versions, "revision": state.revision or None})


def _text(vector: bytes) -> str:
    return base64.b64encode(vector).decode("ascii")
