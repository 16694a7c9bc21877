"""How fast background work may go: in pieces, with a rest after each, so that requests keep their cores."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Pieces of work and the rest after each.

    Attributes:
        max_records: Records in one piece; none for no limit.
        rest: Rest after a piece, in multiples of the time that it took.
    """

    max_records: int | None = None
    rest: float = 0.0

    def rest_s(self, worked_s: float) -> float:
        """Return how long to rest after a piece.

        Args:
            worked_s: How long the piece took.

        Returns:
            Seconds; 0 where work goes on at once.
        """
        return self.rest * worked_s


FULL_SPEED = Pace()
