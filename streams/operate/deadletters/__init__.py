"""Dead letters read back: found, shown whole, and replayed once each to the topic that they came from."""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
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

__getattr__ = lazy_exports(
    __name__,
    {
        "box": ("DeadLetterBox",),
        "letter": ("Letter", "Place", "Source", "read_letter"),
        "replay": ("Replayer", "ReplayReport"),
        "selection": ("Selection", "parse_moment"),
    },
)
