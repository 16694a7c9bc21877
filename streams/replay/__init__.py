"""A log folder played: onto the topics of a real system, or through the same core without any broker."""

from streams.replay.driver import ReplayCore, ReplayDriver
from streams.replay.player import Player, Progress, Publisher
from streams.replay.settings import ReplaySettings

__all__ = ["Player", "Progress", "Publisher", "ReplayCore", "ReplayDriver", "ReplaySettings"]
