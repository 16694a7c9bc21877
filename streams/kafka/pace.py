"""Pace of background work: it runs in pieces with a rest after each, so that requests keep their cores."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Size of a piece of work and the rest after it.

    Attributes:
        max_records: Records in one piece; None for no limit.
        rest: Rest after a piece, in multiples of the time that it took.
    """

    max_records: int | None = None
    rest: float = 0.0

    def rest_s(self, worked_s: float) -> float:
        """Return the seconds to rest after a piece that took `worked_s`; 0 for no rest."""
        return self.rest * worked_s


FULL_SPEED = Pace()
