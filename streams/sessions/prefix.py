"""Which offset may be committed when records finish out of order: the end of the longest finished prefix."""

from collections import deque


class OffsetPrefix:
    """Follows the records of one partition from begun to done.

    Records are begun in offset order, without gaps of our own: offsets that never come (compacted, or markers of
    transactions) need no ack. A committed offset therefore never passes a record that is still open.
    """

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self._next: int | None = None

    @property
    def next_offset(self) -> int | None:
        """Return the offset to commit; None while nothing has finished."""
        return self._next

    @property
    def num_open(self) -> int:
        """Return how many records from the first open one on are held."""
        return len(self._open)

    def begin(self, offset: int) -> None:
        """Note a record that is worked on from now.

        Args:
            offset: Higher than all begun before.

        Raises:
            ValueError: It is not.
        """
        if self._open and offset <= self._open[-1]:
            msg = f"offsets begin in order: expected one above {self._open[-1]}, got {offset}"
            raise ValueError(msg)
        self._open.append(offset)

    def done(self, offset: int) -> None:
        """Note a record that is answered for good.

        Args:
            offset: One that was begun.
        """
        self._done.add(offset)
        while self._open and self._open[0] in self._done:
            first = self._open.popleft()
            self._done.remove(first)
            self._next = first + 1
