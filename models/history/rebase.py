"""Rebase of a state onto another log of listens: offsets restart, entries are kept."""

from sidestream.models.history.layout import NO_WATERMARK, decode, encode


def rebase(state: bytes) -> bytes:
    """Reset the source offset of a state; the ids of its last events still detect repeats.

    Args:
        state: The user's state.

    Returns:
        A state that is ready for the first listen of another log.

    Raises:
        StateError: The state cannot be decoded.
    """
    parts = decode(state)
    parts.watermark = NO_WATERMARK
    return encode(parts)
