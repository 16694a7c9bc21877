"""What is known of a live item, and its bytes.

The bytes are one number, the layout version, then msgpack of the structs below as arrays, with vectors as packed bytes.
Whatever is decided later follows from them alone: which SID stands, which one wants to take over and since when, and up
to where each source was folded. So a restart between any two records changes nothing.
"""

from typing import Final

import msgspec

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.live.vectors import Running
from sidestream.tokenizer.sid import Sid

LAYOUT_VERSION: Final = 1
HOUR_MS: Final = 3_600_000
# Enough to count an hour of a stream that changes every ten seconds.
MAX_CHANGES: Final = 360
SETTLED: Final = -1


class Span(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """A segment of the window.

    Attributes:
        end_ms: Its end, in time of the stream.
        start_ms: Its start.
        offset: Source offset of its record.
        text: Its words, for tokenizers that come later.
        field: What they describe; empty where that is not said, so that segments can be ordered.
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
    """What one partition of the listens knows of an item's listeners.

    Attributes:
        partition: Of the listens.
        since: Source offset of the first listen counted; with the partition it names the sum.
        offset: Source offset of the last listen counted.
        at: Time of the newest listen counted, epoch ms.
        means: By tokenizer version.
    """

    partition: int
    since: int
    offset: int
    at: int
    means: dict[str, Listening]


class View(msgspec.Struct, frozen=True, array_like=True):
    """The item under one tokenizer version.

    Attributes:
        own: Vector of the item's own words, packed.
        sid: The SID that stands.
        vector: Vector published with it, int8 components.
        scale: Component = int8 * scale.
        window: Vectors of the window's segments by source offset, packed.
        long_term: Mean of all segments, weighted by milliseconds.
        anchor: What it was when its SID was last chosen, packed.
        settles_at: When it is looked at once more without hesitation, epoch ms; 0 before its first
            segment, `SETTLED` for not again.
        rival: SID that is nearer, while the item is not far from its anchor; empty for none.
        rival_since: Since when it is, epoch ms.
    """

    own: bytes
    sid: Sid
    vector: bytes
    scale: float
    window: dict[int, bytes] = {}
    long_term: Running = Running()
    anchor: bytes = b""
    settles_at: int = 0
    rival: Sid = ()
    rival_since: int = 0


class LiveState(msgspec.Struct, frozen=True, array_like=True):
    """A live item.

    Attributes:
        item: The catalogue's value of it, as the caller wants it back.
        source_offset: Offset of the catalogue event behind it.
        revision: Times it was tokenized again since that event.
        segments_offset: Source offset of the last segment folded, -1 for none.
        segment_at: Time of the newest segment, epoch ms.
        end_ms: End of the newest segment, in time of the stream.
        newest_at: Time of the newest of all records, epoch ms.
        spans: The window, ascending.
        partials: What is known of the listeners, ascending by partition and first listen.
        views: By tokenizer version, ascending.
        num_changes: Times its SID changed, under any version, since it is known.
        changed_at: When it did in the hour before `newest_at`, epoch ms.
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
        """Count the changes of its SID in the last hour.

        Args:
            now_ms: UTC epoch ms.

        Returns:
            How many; `MAX_CHANGES` at most.
        """
        return sum(at > now_ms - HOUR_MS for at in self.changed_at)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LiveState)


def encode_state(state: LiveState) -> bytes:
    """Write a state; equal states give equal bytes, for the fold makes all dicts in one order."""
    return bytes([LAYOUT_VERSION]) + _encoder.encode(state)


def decode_state(value: bytes) -> LiveState:
    """Read a state.

    Args:
        value: What `encode_state` gave.

    Returns:
        The state.

    Raises:
        TokenizerError: Another layout version, or bytes that do not fit this one.
    """
    if value[:1] != bytes([LAYOUT_VERSION]):
        msg = (
            f"live state: expected layout version {LAYOUT_VERSION}, got {value[:1].hex() or 'no bytes'}; "
            "run the release that wrote it, or remove the state: the item is tokenized anew from then on"
        )
        raise TokenizerError(msg)
    try:
        return _decoder.decode(memoryview(value)[1:])
    except msgspec.MsgspecError as error:
        msg = f"live state: {len(value)} bytes cannot be read ({error}); remove it, the item is tokenized anew then"
        raise TokenizerError(msg) from error
