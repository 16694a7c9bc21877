"""Rules of reading topics without a consumer group, independent of the client library.

* **End.** The end of a partition is its end offset at the time it was fetched: with read_committed the last stable
  offset (the first record of the oldest open transaction), otherwise the high watermark. A read is done when the
  *position* reaches the end: the last offsets of a log may be transaction markers or gaps left by compaction, which are
  never delivered. A partition whose first position is its end (an empty one, for example) is not waited for.
* **Start.** Every partition has an explicit position before its first fetch; the client library's own reset policy is
  off (`auto_offset_reset = "none"`).
* **A position before the first offset** (records deleted by retention or delete-records): reading continues at the
  first existing offset, with a warning; the offsets in between are counted as lost.
* **A position past the end, or an end that has moved back**: the topic was recreated or truncated. A follower reads the
  partition again from its beginning, with a warning; so does a read to a fixed end at its start. Later, a read to a
  fixed end raises `TopicError`, because the records already returned belong to another log. A topic that was recreated
  and has grown to the position or beyond before its ends are asked for is not recognised, and what it holds before the
  position is not read: aiokafka gives consumers no topic ids. Who keeps positions over restarts compares the ids that
  the admin client reports (`listens/restore/source_check`, `catalogue/disk`, `operate/recording`).
* **No progress.** A read to an end raises `BrokerError` once no position has moved for `no_progress_s` of waiting; time
  that the caller spends on the records does not count. A follower waits forever: the broker may come back.
* **New partitions** of a followed topic are read from their beginning.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.errors import BrokerError, TopicError

# The standard library's: importing structlog takes a third of a second, and would print to the output of commands.
logger = logging.getLogger(__name__)

# A client cannot distinguish a transaction marker at the end of a log from the absence of new records until its fetch
# returns: short polls detect the end early, and cost 50 polls of some 20 us per second while a read to an end lasts.
POLL_MS = 20
NO_PROGRESS_S = 60.0
# Time without progress after which the ends are fetched again, in case they have moved back.
CHECK_ENDS_S = 5.0


class Place(NamedTuple):
    """One partition of a topic; equal to both client libraries' `TopicPartition`."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Batch(NamedTuple):
    """Consecutive records of one partition, in offset order, as the client library gives them."""

    place: Place
    records: Sequence[Any]


class Bounds(NamedTuple):
    """First offset of a partition and the offset after its last; equal if it is empty."""

    begin: int
    end: int


Start = Literal["beginning", "end"] | Mapping[Place, int]
"""First positions; partitions without an explicit position are read from their beginning."""


def keep_last(records: Iterable[Any], values: dict[bytes, bytes]) -> None:
    """Update the last values of the keys of a compacted topic with records.

    Args:
        records: In offset order; unreadable ones are skipped, the consumer has logged them.
        values: Last value by key, changed in place; a tombstone removes its key.
    """
    for record in records:
        if record.value is None:
            values.pop(record.key, None)
        elif record.value or not isinstance(record.value, Unreadable):
            values[record.key] = record.value


class ReadState:
    """Positions, bounds and target ends of the partitions of one reader.

    Args:
        restarts: Whether a recreated topic is read again from its beginning; otherwise it is an error.
        no_progress_s: Longest wait without progress before the target ends are reached.

    Attributes:
        positions: Next offset to read, by partition.
        bounds: First and end offsets, as last fetched.
        num_restarts: Number of times a partition was read again from its beginning.
        num_lost: Number of offsets deleted before they were read.
    """

    def __init__(self, *, restarts: bool, no_progress_s: float = NO_PROGRESS_S) -> None:
        self.positions: dict[Place, int] = {}
        self.bounds: dict[Place, Bounds] = {}
        self.num_restarts = self.num_lost = 0
        self._restarts = restarts
        self._no_progress_s = no_progress_s
        self._targets: dict[Place, int] = {}
        self._waited_s = self._checked_s = 0.0

    @property
    def behind(self) -> int:
        """Number of offsets left to the target ends, gaps and markers included."""
        return sum(goal - self.positions[place] for place, goal in self._left())

    @property
    def is_reached(self) -> bool:
        """Whether every position has reached its target end."""
        return next(self._left(), None) is None

    def start(self, bounds: Mapping[Place, Bounds], start: Start) -> None:
        """Set the first positions of partitions.

        Args:
            bounds: Current bounds of these partitions.
            start: First positions.
        """
        for place, (begin, end) in bounds.items():
            self.bounds[place] = Bounds(begin, end)
            if isinstance(start, str):
                self.positions[place] = begin if start == "beginning" else end
            elif place in start:
                self.seek(place, start[place])
            else:
                self.positions[place] = begin

    def seek(self, place: Place, wanted: int) -> int:
        """Set the position of a partition.

        Args:
            place: Partition whose bounds are known.
            wanted: Requested next offset.

        Returns:
            The next offset, adjusted to the bounds of the log.
        """
        begin, end = self.bounds[place]
        if wanted > end:
            self.num_restarts += 1
            text = "%s: topic recreated or truncated, read from its beginning: position %d, offsets %d to %d"
            logger.warning(text, place, wanted, begin, end)
            wanted = begin
        elif wanted < begin:
            self.num_lost += begin - wanted
            text = "%s: records were deleted before they were read: position %d, offsets %d to %d"
            logger.warning(text, place, wanted, begin, end)
            wanted = begin
        self.positions[place] = wanted
        return wanted

    def resume(self, bounds: Mapping[Place, Bounds]) -> None:
        """Adjust all positions after one was out of range.

        Args:
            bounds: Current bounds of all partitions.

        Raises:
            TopicError: A position is past the end, and this reader does not restart.
        """
        self.bounds.update(bounds)
        for place, position in list(self.positions.items()):
            if position > bounds[place].end:
                self._require_restarts(place, position, bounds[place].end)
            self.seek(place, position)

    def update_ends(self, ends: Mapping[Place, int]) -> dict[Place, int]:
        """Update the end offsets of partitions and return them."""
        for place, end in ends.items():
            self.bounds[place] = self.bounds[place]._replace(end=end)
        return dict(ends)

    def set_targets(self, ends: Mapping[Place, int]) -> None:
        """Set the target ends, by partition."""
        self._targets = dict(ends)
        self._waited_s = self._checked_s = 0.0

    def move(self, place: Place, position: int) -> None:
        """Update the position (next offset to read) of a partition."""
        if self.positions.get(place) != position:
            self.positions[place] = position
            self._waited_s = self._checked_s = 0.0

    def before_end(self, batch: Batch) -> Sequence[Any]:
        """Return the records of a non-empty batch that come before the target end."""
        goal = self._targets.get(batch.place, 0)
        if batch.records[-1].offset < goal:
            return batch.records
        return [record for record in batch.records if record.offset < goal]

    def add_wait(self, seconds: float) -> bool:
        """Add a wait during which no position moved.

        Args:
            seconds: Length of the wait.

        Returns:
            Whether it is time to fetch the ends again.

        Raises:
            BrokerError: There was no progress for too long.
        """
        self._waited_s += seconds
        if self._waited_s >= self._no_progress_s and (left := dict(self._left())):
            place, goal = next(iter(left.items()))
            more = f" (and {len(left) - 1} more partitions)" if len(left) > 1 else ""
            msg = (
                f"{place}: expected to reach offset {goal}, got no further than {self.positions[place]} for "
                f"{self._waited_s:.0f} s{more}; check that the broker is up and that the partition has a leader"
            )
            raise BrokerError(msg)
        if self._waited_s - self._checked_s >= CHECK_ENDS_S:
            self._checked_s = self._waited_s
            return True
        return False

    def check_ends(self, ends: Mapping[Place, int]) -> None:
        """Compare the current ends with the target ends.

        Args:
            ends: Current ends by partition.

        Raises:
            TopicError: An end has moved back, and this reader does not restart.
        """
        for place, goal in self._targets.items():
            end = ends.get(place, goal)
            if end < goal and self.positions[place] < goal:
                self._require_restarts(place, goal, end)
                self._targets[place] = end

    def _require_restarts(self, place: Place, wanted: int, end: int) -> None:
        if not self._restarts:
            msg = (
                f"{place}: expected offsets up to {wanted}, got an end of {end}: the topic was recreated or truncated "
                "while it was read; try again"
            )
            raise TopicError(msg)

    def _left(self) -> Iterator[tuple[Place, int]]:
        return ((place, goal) for place, goal in self._targets.items() if self.positions[place] < goal)


class Reader:
    """What every reader says of its positions and ends; `_state` holds them."""

    _state: ReadState

    @property
    def positions(self) -> Mapping[Place, int]:
        """Next offset to read, by partition, as of the last `poll`."""
        return self._state.positions

    @property
    def bounds(self) -> Mapping[Place, Bounds]:
        """First and end offset of each partition, as last fetched."""
        return self._state.bounds

    @property
    def behind(self) -> int:
        """Number of offsets left to the target ends: the ends when it opened, or those set by `set_targets`."""
        return self._state.behind

    @property
    def is_caught_up(self) -> bool:
        """Whether the target ends are reached."""
        return self._state.is_reached
