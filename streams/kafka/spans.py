"""The rules of reading topics without a consumer group, apart from any client library.

* **End.** The end of a partition is its end offset when it was asked for: with read_committed the last stable offset
  (the first record of the oldest open transaction), else the high watermark. A read has reached it when the *position*
  has: the last offsets of a log may be transaction markers or gaps left by compaction, which are never delivered. A
  partition whose first position is its end, an empty one among them, is never waited for.
* **Start.** Every partition has an explicit position before its first fetch; the client library's own reset policy is
  off (`auto_offset_reset = "none"`).
* **A position before the first offset** (retention or delete-records took the records): reading goes on at the first
  offset that is there, with a warning; the offsets between are counted as lost.
* **A position behind the end, or an end that has moved back**: the topic was recreated or truncated. The partition is
  read again from its beginning, with a warning, by a follower at any time and by a read to a fixed end where it
  starts; later such a read raises `TopicError`, for what it has handed over belongs to another log.
* **No progress.** A read to an end raises `BrokerError` once no position has moved for `no_progress_s` of waiting; time
  that the caller spends on the records does not count. A follower waits for ever: a broker may come back.
* **New partitions** of a followed topic are read from their beginning.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sidestream.streams.errors import BrokerError, TopicError

# A client cannot tell a marker at the end of a log from a log without news until its fetch has come back: short polls
# notice the end early, and cost 50 rounds of some 20 us a second, while a read to an end lasts.
POLL_MS = 20
NO_PROGRESS_S = 60.0
# How long nothing has moved when it is looked whether the end is still where it was.
LOOK_AGAIN_S = 5.0


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
    """First offset of a partition, and the one behind its last; both are equal where it is empty."""

    begin: int
    end: int


Start = Literal["beginning", "end"] | Mapping[Place, int]
"""Where reading starts; partitions without an explicit position are read from their beginning."""


class Spans:
    """Positions and ends of the partitions of one reader.

    Args:
        restarts: Whether a recreated topic is read again from its beginning; else it is an error.
        no_progress_s: Longest wait without progress on the way to an end.

    Attributes:
        positions: Next offset to be read, by partition.
        bounds: First and end offsets as they were last asked for.
        num_restarts: How often a partition was read again from its beginning.
        num_lost: Offsets that were deleted before they were read.
    """

    def __init__(self, *, restarts: bool, no_progress_s: float = NO_PROGRESS_S) -> None:
        self.positions: dict[Place, int] = {}
        self.bounds: dict[Place, Bounds] = {}
        self.num_restarts = self.num_lost = 0
        self._restarts = restarts
        self._no_progress_s = no_progress_s
        self._goals: dict[Place, int] = {}
        self._waited_s = self._looked_s = 0.0

    @property
    def behind(self) -> int:
        """How many offsets are left to the ends that were aimed at, gaps and markers among them."""
        return sum(goal - self.positions[place] for place, goal in self._left())

    @property
    def is_reached(self) -> bool:
        """Whether every position has reached the end that was aimed at."""
        return next(self._left(), None) is None

    def start(self, bounds: Mapping[Place, Bounds], start: Start) -> None:
        """Choose the first positions of partitions.

        Args:
            bounds: What they hold now.
            start: Where to begin.
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
        """Read a partition from another position on.

        Args:
            place: Partition whose bounds are known.
            wanted: Next offset, as the reader would have it.

        Returns:
            Next offset, as the log has it.
        """
        begin, end = self.bounds[place]
        where = {"topic": place.topic, "partition": place.partition, "position": wanted, "begin": begin, "end": end}
        if wanted > end:
            self.num_restarts += 1
            _warn("topic recreated or truncated, read from its beginning", **where)
            wanted = begin
        elif wanted < begin:
            self.num_lost += begin - wanted
            _warn("records were deleted before they were read", **where)
            wanted = begin
        self.positions[place] = wanted
        return wanted

    def resume(self, bounds: Mapping[Place, Bounds]) -> None:
        """Choose where all partitions are read on after one position was refused.

        Args:
            bounds: What they hold now.

        Raises:
            TopicError: A position is behind the end, and this reader does not restart.
        """
        self.bounds.update(bounds)
        for place, position in list(self.positions.items()):
            if position > bounds[place].end:
                self._require_restarts(place, position, bounds[place].end)
            self.seek(place, position)

    def note_ends(self, ends: Mapping[Place, int]) -> dict[Place, int]:
        """Note the ends as they are now.

        Args:
            ends: By partition.

        Returns:
            The same.
        """
        for place, end in ends.items():
            self.bounds[place] = self.bounds[place]._replace(end=end)
        return dict(ends)

    def aim(self, ends: Mapping[Place, int]) -> None:
        """Set the ends to reach.

        Args:
            ends: By partition.
        """
        self._goals = dict(ends)
        self._waited_s = self._looked_s = 0.0

    def move(self, place: Place, position: int) -> None:
        """Note a position.

        Args:
            place: Partition.
            position: Next offset to be read.
        """
        if self.positions.get(place) != position:
            self.positions[place] = position
            self._waited_s = self._looked_s = 0.0

    def before_end(self, batch: Batch) -> Sequence[Any]:
        """Leave out what came after the end was asked for.

        Args:
            batch: Records, not empty.

        Returns:
            Those before the end.
        """
        goal = self._goals.get(batch.place, 0)
        if batch.records[-1].offset < goal:
            return batch.records
        return [record for record in batch.records if record.offset < goal]

    def waited(self, seconds: float) -> bool:
        """Note a wait for records, which counts where no position moved.

        Args:
            seconds: How long it was.

        Returns:
            Whether it is time to ask for the ends again.

        Raises:
            BrokerError: Nothing has moved for too long.
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
        if self._waited_s - self._looked_s >= LOOK_AGAIN_S:
            self._looked_s = self._waited_s
            return True
        return False

    def look_again(self, ends: Mapping[Place, int]) -> None:
        """Compare ends with those that were aimed at.

        Args:
            ends: As they are now.

        Raises:
            TopicError: One has moved back, and this reader does not restart.
        """
        for place, goal in self._goals.items():
            end = ends.get(place, goal)
            if end < goal and self.positions[place] < goal:
                self._require_restarts(place, goal, end)
                self._goals[place] = end

    def _require_restarts(self, place: Place, wanted: int, end: int) -> None:
        if not self._restarts:
            msg = (
                f"{place}: expected offsets up to {wanted}, got an end of {end}: the topic was recreated or truncated "
                "while it was read; try again"
            )
            raise TopicError(msg)

    def _left(self) -> Iterator[tuple[Place, int]]:
        return ((place, goal) for place, goal in self._goals.items() if self.positions[place] < goal)


def _warn(event: str, **where: Any) -> None:
    # structlog takes a third of a second to import, which a command that only reads would wait for.
    from sidestream.streams.runtime.logs.log import get_log

    get_log(__name__).warning(event, **where)
