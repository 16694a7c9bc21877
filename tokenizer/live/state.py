"""State of a live item, and its byte layout.

The bytes are the layout version (one byte), then msgpack of the structs below as arrays, with vectors as packed bytes.
All later decisions follow from the state alone: the current SID, the rival SID and since when, and the watermark of
each source. So a restart between any two records changes nothing.
"""

from typing import Final

import msgspec

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.live.vectors import DecayedMean
from sidestream.tokenizer.sid import Sid

LAYOUT_VERSION: Final = 1
HOUR_MS: Final = 3_600_000
# Enough for an hour of a stream whose SID changes every ten seconds.
MAX_CHANGES: Final = 360
SETTLED: Final = -1


class Span(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """A segment of the window.

    Attributes:
        end_ms: End in stream time.
        start_ms: Start in stream time.
        offset: Source offset of its record.
        text: Text of the segment, for tokenizers that are loaded later.
        field: What the text describes; empty (not None) if unspecified, so that segments can be ordered.
    """

    end_ms: int
    start_ms: int
    offset: int
    text: str
    field: str = ""


class Listening(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The mean vector of some listeners under one tokenizer version: component = int8 * scale."""

    vector: bytes
    scale: float
    weight: float


class Partial(msgspec.Struct, frozen=True, array_like=True):
    """Sum of an item's listeners over one partition of the listens.

    Attributes:
        partition: Partition of the listens.
        since: Source offset of the first listen counted; with the partition it identifies the sum.
        offset: Source offset of the last listen counted.
        at: Time of the newest listen counted, epoch ms.
        means: Mean vectors by tokenizer version.
    """

    partition: int
    since: int
    offset: int
    at: int
    means: dict[str, Listening]


class View(msgspec.Struct, frozen=True, array_like=True):
    """The item under one tokenizer version.

    Attributes:
        own: Vector of the item's own text, packed.
        sid: The current SID.
        vector: Vector published with it, int8 components.
        scale: Component = int8 * scale.
        window: Vectors of the window's segments by source offset, packed.
        long_term: Mean of all segments, weighted by milliseconds.
        anchor: The fused vector when the SID was last chosen, packed.
        settles_at: When the SID is re-evaluated without hysteresis, epoch ms; 0 before the first segment, `SETTLED`
            for never again.
        rival: A nearer SID, while the item has not moved far from its anchor; empty for none.
        rival_since: Since when the rival is the nearest, epoch ms.
    """

    own: bytes
    sid: Sid
    vector: bytes
    scale: float
    window: dict[int, bytes] = {}
    long_term: DecayedMean = DecayedMean()
    anchor: bytes = b""
    settles_at: int = 0
    rival: Sid = ()
    rival_since: int = 0


class LiveState(msgspec.Struct, frozen=True, array_like=True):
    """State of a live item.

    Attributes:
        item: The catalogue's value, opaque to this module.
        source_offset: Offset of the catalogue event.
        revision: Number of changes of the SID since that event.
        segments_offset: Source offset of the last segment folded, -1 for none.
        segment_at: Time of the newest segment, epoch ms.
        end_ms: End of the newest segment, in stream time.
        newest_at: Time of the newest record of any kind, epoch ms.
        spans: Segments of the window, ascending.
        partials: Sums of the listeners, ascending by partition and first listen.
        views: Views by tokenizer version, ascending.
        num_changes: Number of changes of the SID, under any version, since the item first appeared.
        changed_at: Times of the changes in the hour before `newest_at`, epoch ms.
    """

    item: bytes
    source_offset: int
    revision: int = 0
    segments_offset: int = -1
    segment_at: int = 0
    end_ms: int = -1
    newest_at: int = 0
    spans: tuple[Span, ...] = ()
    partials: tuple[Partial, ...] = ()
    views: dict[str, View] = {}
    num_changes: int = 0
    changed_at: tuple[int, ...] = ()

    def changes_last_hour(self, now_ms: int) -> int:
        """Return the number of changes of the SID in the last hour, at most `MAX_CHANGES`."""
        return sum(at > now_ms - HOUR_MS for at in self.changed_at)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LiveState)


def encode_state(state: LiveState) -> bytes:
    """Encode a state; equal states give equal bytes, because the fold builds all dicts in a fixed order."""
    return bytes([LAYOUT_VERSION]) + _encoder.encode(state)


def decode_state(value: bytes) -> LiveState:
    """Decode a state.

    Args:
        value: Bytes written by `encode_state`.

    Returns:
        The state.

    Raises:
        TokenizerError: The layout version is unknown, or the bytes do not fit it.
    """
    if value[:1] != bytes([LAYOUT_VERSION]):
        msg = (
            f"live state: expected layout version {LAYOUT_VERSION}, got {value[:1].hex() or 'no bytes'}; "
            "run the release that wrote it, or remove the state: the item is then tokenized from scratch"
        )
        raise TokenizerError(msg)
    try:
        return _decoder.decode(memoryview(value)[1:])
    except msgspec.MsgspecError as error:
        msg = f"live state: {len(value)} bytes cannot be decoded ({error}); remove it: the item is tokenized again"
        raise TokenizerError(msg) from error
