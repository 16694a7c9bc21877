"""Committable offset of records that finish out of order: the end of the longest finished prefix."""

from collections import deque


class OffsetPrefix:
    """Tracks the records of one partition from begin to done.

    Records begin in offset order, and none is skipped: offsets that are never delivered (compacted, or transaction
    markers) need no ack. A committed offset therefore never passes a record that is still open.
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
        """Return the number of tracked records, from the first open one on."""
        return len(self._open)

    def begin(self, offset: int) -> None:
        """Note the begin of a record.

        Args:
            offset: Must be higher than all offsets begun before.

        Raises:
            ValueError: It is not.
        """
        if self._open and offset <= self._open[-1]:
            msg = f"records must begin in offset order: expected an offset above {self._open[-1]}, got {offset}"
            raise ValueError(msg)
        self._open.append(offset)

    def done(self, offset: int) -> None:
        """Note that a record is finished; it must have begun."""
        self._done.add(offset)
        while self._open and self._open[0] in self._done:
            first = self._open.popleft()
            self._done.remove(first)
            self._next = first + 1

    def skip(self, next_offset: int) -> None:
        """Note that no record before an offset will begin.

        Args:
            next_offset: The next record to begin may have this offset; all begun before must be lower.
        """
        self.begin(next_offset - 1)
        self.done(next_offset - 1)
