"""Replays of a log folder: onto the topics of a real system, or through the same core without a broker."""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from sidestream.streams.replay.driver import ReplayCore, ReplayDriver
    from sidestream.streams.replay.player import Player, Progress, Publisher
    from sidestream.streams.replay.settings import ReplaySettings

__all__ = ["Player", "Progress", "Publisher", "ReplayCore", "ReplayDriver", "ReplaySettings"]

__getattr__ = lazy_exports(
    __name__,
    {
        "driver": ("ReplayCore", "ReplayDriver"),
        "player": ("Player", "Progress", "Publisher"),
        "settings": ("ReplaySettings",),
    },
)
