"""Dead letters read back: found, shown whole, and replayed once each to the topic that they came from."""

from sidestream.streams.operate.deadletters.box import DeadLetterBox
from sidestream.streams.operate.deadletters.letter import Letter, Place, Source, read_letter
from sidestream.streams.operate.deadletters.replay import Replayer, ReplayReport
from sidestream.streams.operate.deadletters.selection import Selection, parse_moment

__all__ = [
    "DeadLetterBox",
    "Letter",
    "Place",
    "ReplayReport",
    "Replayer",
    "Selection",
    "Source",
    "parse_moment",
    "read_letter",
]
