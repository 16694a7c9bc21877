"""Dead letters: found, shown in full, and replayed exactly once to their source topic."""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from sidestream.streams.operate.deadletters.letter import Letter, Place, Source, read_letter
    from sidestream.streams.operate.deadletters.reader import DeadLetterReader
    from sidestream.streams.operate.deadletters.replay import Replayer, ReplayReport
    from sidestream.streams.operate.deadletters.selection import Selection, parse_moment

__all__ = [
    "DeadLetterReader",
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
        "reader": ("DeadLetterReader",),
        "letter": ("Letter", "Place", "Source", "read_letter"),
        "replay": ("Replayer", "ReplayReport"),
        "selection": ("Selection", "parse_moment"),
    },
)
