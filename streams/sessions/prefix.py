"""Committable offset of records that finish out of order: the end of the longest finished prefix."""

from heapq import heappop, heappush


class OffsetPrefix:
    """Tracks the records of one partition from begin to done.

    Records begin in offset order, and none is skipped: offsets that are never delivered (compacted, or transaction
    markers) need no ack. A range may be deferred, to begin later than the records after it. A committed offset never
    passes a record that is open or deferred.
    """

    def __init__(self) -> None:
        self._unfinished: list[int] = []  # a heap; what is in `_done` too is removed once it is the lowest
        self._done: set[int] = set()
        self._ranges: list[range] = []
        self._first: int | None = None
        self._end = 0

    @property
    def next_offset(self) -> int | None:
        """Return the offset to commit; None while nothing is finished."""
        lowest = min([some[0] for some in (self._unfinished, *self._ranges) if some], default=self._end)
        return None if self._first is None or lowest <= self._first else lowest

    @property
    def end(self) -> int:
        """Return the end of all that has begun, was skipped, or is deferred; 0 before anything is."""
        return self._end

    @property
    def num_deferred(self) -> int:
        """Return the number of offsets that are deferred."""
        return sum(map(len, self._ranges))

    @property
    def deferred(self) -> range | None:
        """Return the offsets that were deferred last and have not begun; None if there are none."""
        return self._ranges[-1] if self._ranges else None

    def begin(self, offset: int) -> None:
        """Note the begin of a record.

        Args:
            offset: Higher than all offsets begun before, or in the range of `deferred`, where those before it are then
                taken as never delivered.

        Raises:
            ValueError: It is neither.
        """
        if self._first is None or offset >= self._end:
            self._extend(offset, offset + 1)
        elif self._ranges and offset in self._ranges[-1]:
            self.pass_deferred(offset + 1)
        else:
            msg = f"records must begin in offset order: expected an offset of at least {self._end}, got {offset}"
            raise ValueError(msg)
        heappush(self._unfinished, offset)

    def done(self, offset: int) -> None:
        """Note that a record is finished; it must have begun."""
        self._done.add(offset)
        while self._unfinished and self._unfinished[0] in self._done:
            self._done.remove(heappop(self._unfinished))

    def skip(self, next_offset: int) -> None:
        """Note that no record before an offset will begin, other than deferred ones.

        Args:
            next_offset: The next record to begin may have this offset; all begun before must be lower.
        """
        self._extend(next_offset - 1, next_offset)

    def defer(self, first: int, end: int) -> None:
        """Let the records of a range begin later than those after it.

        Args:
            first: Higher than all offsets begun before.
            end: End of the range, above `first`.
        """
        self._ranges.append(range(first, end))
        self._extend(first, end)

    def pass_deferred(self, position: int) -> None:
        """Note that all records of `deferred` before a position have begun or do not exist."""
        left = range(max(position, self._ranges[-1].start), self._ranges[-1].stop)
        if left:
            self._ranges[-1] = left
        else:
            self._ranges.pop()

    def _extend(self, first: int, end: int) -> None:
        self._first = first if self._first is None else self._first
        self._end = max(self._end, end)
