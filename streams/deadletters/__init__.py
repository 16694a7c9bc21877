"""Dead letters read back: found, shown whole, and replayed once each to the topic that they came from."""

from streams.deadletters.box import DeadLetterBox
from streams.deadletters.letter import Letter, Place, Source, read_letter
from streams.deadletters.replay import Replayer, ReplayReport
from streams.deadletters.selection import Selection, parse_moment

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
