"""Owns how a state is carried over to another log of listens: its offsets start again, what is known stays."""

from sidestream.models.history.layout import NO_WATERMARK, decode, encode


def rebase(state: bytes) -> bytes:
    """Forget the source offset of a state; the ids of its last events still recognise repeats.

    Args:
        state: The user's state.

    Returns:
        The state as it folds the first listen of another log.

    Raises:
        StateError: The state cannot be read.
    """
    parts = decode(state)
    parts.watermark = NO_WATERMARK
    return encode(parts)
