"""One batch of listens of one partition: turns records and old states into new states and dead letters. No I/O."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import SidLookup, block_key, fold
from sidestream.streams.contracts.deadletters import DeadLetter, dead_letter
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.errors import BadRecord
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.listens.erasure.requests import Requests, erasure_changes
from sidestream.streams.runtime.lane_metrics import LaneMetrics


class Piece(NamedTuple):
    """Some listens of one user: those from `first` to before `stop`; equal for a user with erasures alone."""

    user: bytes
    first: int
    stop: int


Decode = Callable[[bytes | None, bytes | None, int], ListenRow]
Values = dict[bytes, bytes | None]
Listens = Mapping[bytes, Sequence[tuple[int, ListenRow]]]
OnDurable = Callable[[int, Listens, Mapping[bytes, bytes | None]], None]
"""Called after each durable batch with its partition, its listens by user with offsets, and the users' new states."""


class ListenBatch:
    """Collects records, then folds them into the states of their users.

    Both steps can be done in slices, so that the event loop gets control in between.

    Args:
        partition: Source partition.
        next_offset: First source offset that is not folded yet; earlier records are duplicates and are dropped.
        decode: Decodes a record's key, value and timestamp, or raises `BadRecord`.
        history_events: Number of events a user's blocks must hold; 0 for no blocks.
        placement: Recognises records of other partitions; None takes all.
    """

    def __init__(
        self,
        partition: int,
        next_offset: int,
        decode: Decode,
        history_events: int = 0,
        placement: Placement | None = None,
    ) -> None:
        self.partition = partition
        self.next_offset = next_offset
        self.num_records = 0
        self.bad_reasons: list[str] = []
        self.applied = self.repeats = self.late = self.stale = self.refused = self.erased = 0
        self._decode, self._history_events, self._placement = decode, history_events, placement
        self._records: list[Any] = []
        self._listens: dict[bytes, list[tuple[int, ListenRow]]] = {}
        self._values: Values = {}
        self._dead_letters: list[DeadLetter] = []
        self._requests: Requests | None = None
        self._erasures: Mapping[bytes, list[int | None]] = {}
        self._blocks: Mapping[bytes, Mapping[int, bytes]] = {}

    @property
    def users(self) -> list[bytes]:
        """Keys of the users with listens or erasures in this batch, in order of first occurrence."""
        return list(dict.fromkeys((*self._listens, *self._erasures)))

    def pieces(self, max_users: int, max_listens: int) -> Iterator[list[Piece]]:
        """Split the batch for `fold`, in the order in which the pieces must be folded.

        Args:
            max_users: Limit of users at a time, for their states are read together.
            max_listens: Limit of listens at a time; a user with more is folded in several steps.

        Yields:
            Users, each with the range of its listens.
        """
        together: list[Piece] = []
        count = 0
        for user in self.users:
            total = len(self._listens.get(user, ()))
            for first in range(0, total or 1, max_listens):
                size = min(max_listens, total - first)
                if together and (first or len(together) == max_users or count + size > max_listens):
                    yield together
                    together, count = [], 0
                together.append(Piece(user, first, first + size))
                count += size
        if together:
            yield together

    @property
    def listens(self) -> Listens:
        """Listens by user, with their offsets."""
        return self._listens

    @property
    def states(self) -> Mapping[bytes, bytes | None]:
        """States that the batch changed, by user; includes blocks, under their own keys."""
        return self._values

    def erase(self, requests: Requests, blocks: Mapping[bytes, Mapping[int, bytes]]) -> None:
        """Add erasure requests; they are applied before the listens, so the watermarks against duplicates are kept.

        Args:
            requests: Requests of the partition.
            blocks: All blocks of their users, by key, then by slot.
        """
        self._requests, self._erasures, self._blocks = requests, requests.by_user, blocks

    def add(self, records: Sequence[Any]) -> None:
        """Decode records and group them by user.

        Args:
            records: Consumer records of the partition, in offset order.
        """
        decode, listens, next_offset = self._decode, self._listens, self.next_offset
        for record in records:
            offset = record.offset
            if offset < next_offset:
                continue
            next_offset = offset + 1
            try:
                listen = decode(record.key, record.value, record.timestamp)
            except BadRecord as exc:
                self.bad_reasons.append(exc.reason)
                self._dead_letters.append(dead_letter(record, exc))
                continue
            of_user = listens.get(record.key)
            if of_user is None:
                listens[record.key] = [(offset, listen)]
            else:
                of_user.append((offset, listen))
        self._records += records
        self.num_records += len(records)
        self.next_offset = next_offset

    def refuse_misplaced(self) -> None:
        """Send listens that belong to another partition to the dead letters; called once, after the last `add`."""
        placement, records = self._placement, self._records
        self._records = []
        if placement is None or not (misplaced := placement.misplaced(list(self._listens), self.partition)):
            return
        offsets = {offset for user in misplaced for offset, _ in self._listens.pop(user)}
        for record in records:
            if record.offset in offsets:
                fault = placement.fault(record)
                self.bad_reasons.append(fault.reason)
                self._dead_letters.append(dead_letter(record, fault))

    def fold(self, pieces: Sequence[Piece], states: Sequence[bytes | None], lookup: SidLookup) -> Values:
        """Fold the erasures and listens of some users.

        Args:
            pieces: From `pieces`.
            states: Their users' previous states, in the same order; not used for a further piece of the same user.
            lookup: Maps an item key to its current SID.

        Returns:
            New values by key, None for deletions; users with an unchanged state are left out.

        Raises:
            StateError: A stored state is invalid.
        """
        changed: Values = {}
        for (user, first, stop), stored in zip(pieces, states, strict=True):
            state = self._values.get(user, stored) if first else stored
            if not first and (asked := self._erasures.get(user)) is not None:
                changes = erasure_changes(user, state, self._blocks[user], asked)
                if user in changes:
                    state = changed[user] = changes.pop(user)
                    self.erased += 1
                # Before the fold, which may write to the same slots.
                self._values.update(changes)
            if first == stop:
                continue
            result = fold(state, self._listens[user][first:stop], lookup, self._history_events)
            self.applied += result.applied
            if result.applied < stop - first:
                self.refused += result.erased
                self.repeats += result.repeats
                self.late += result.late
                self.stale += result.stale
            if result.state != state:
                changed[user] = result.state
                if result.blocks:
                    # Before the state, which counts them: if a batch is published only in part, no block is missing.
                    self._values.pop(user, None)
                    for slot, block in result.blocks.items():
                        self._values[block_key(user, slot)] = block
        self._values.update(changed)
        return changed

    def result(self) -> FoldedBatch:
        """Return the changes of the batch."""
        if (requests := self._requests) is None:
            return FoldedBatch(self.partition, self._values, self._dead_letters, self.next_offset)
        letters = [*self._dead_letters, *requests.dead_letters]
        side_offsets = {requests.topic: requests.next_offset}
        return FoldedBatch(self.partition, self._values, letters, self.next_offset, side_offsets)

    def count(self, metrics: LaneMetrics, seconds: float) -> None:
        """Count the batch once it is durable; `seconds` is the time from fold to write."""
        metrics.batch(seconds, self.num_records)
        metrics.folded(self.applied, self.repeats, self.late, self.stale)
        for reason in self.bad_reasons:
            metrics.bad(reason)
        if self.refused:
            metrics.refused(self.refused)
        if self._requests is not None:
            metrics.erased(self.erased)
            for reason in self._requests.bad_reasons:
                metrics.bad(reason, self._requests.topic)
