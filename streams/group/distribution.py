"""Which worker owns which partitions and keeps which standbys: pure, computed by the group's leader at each rebalance.

A partition whose owner serves it moves to another worker only once that worker's table is current: until then the new
worker keeps it current as a standby that is `coming`, and asks for another rebalance when it is. So a worker that joins
or returns takes nothing out of service, and one that leaves is replaced by its standbys.

The standbys of a worker's partitions are spread over the others so that all of them can take over in place: no more on
each than it could own if that worker were gone.

Source: KIP-441, "Smooth Scaling Out for Kafka Streams" (warm-up replicas, caught-up clients first, probing rebalances).
"""

from collections import Counter
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Report:
    """What a worker says of itself when it joins.

    Attributes:
        owned: Partitions that it owns.
        standbys: Partitions of which it has a table, current or not.
        current: Partitions, owned ones too, whose table is current; None from a worker that does not say: nothing
            waits for its tables.
    """

    owned: Set[int]
    standbys: Set[int]
    current: Set[int] | None


@dataclass
class Share:
    """What a worker gets.

    Attributes:
        owned: Partitions that it owns.
        standbys: Partitions of which it keeps a table current; includes `coming`.
        coming: Partitions that it will own once their tables are current.
    """

    owned: set[int] = field(default_factory=set)
    standbys: set[int] = field(default_factory=set)
    coming: set[int] = field(default_factory=set)


def distribute(reports: Mapping[str, Report], num_partitions: int) -> dict[str, Share]:
    """Distribute all partitions over the workers.

    Args:
        reports: Reports of all workers, at least one.
        num_partitions: Number of partitions.

    Returns:
        The shares of all workers.
    """
    distribution = _Distribution(reports, num_partitions)
    distribution.keep_owners()
    distribution.find_owners()
    distribution.balance()
    distribution.place_standbys()
    return distribution.shares


class _Distribution:
    def __init__(self, reports: Mapping[str, Report], num_partitions: int) -> None:
        self._reports = {name: reports[name] for name in sorted(reports)}
        self._partitions = range(num_partitions)
        self.shares = {name: Share() for name in self._reports}
        self._owners: dict[int, str] = {}

    def keep_owners(self) -> None:
        """Let each partition stay with its owner; of two, one of which is out of date, with one that serves it.

        An owner that restores a table gives its partition to a worker whose table is current already.
        """
        for partition in self._partitions:
            claims = [name for name, report in self._reports.items() if partition in report.owned]
            if not claims:
                continue
            current = self._current_at(partition)
            serving = [name for name in claims if name in current]
            is_told = all(self._reports[name].current is not None for name in claims)
            self._own(partition, (serving or (current if is_told else []) or claims)[0])

    def find_owners(self) -> None:
        """Give what nobody owns to those whose tables are current, or else to the nearest."""
        for partition in self._partitions:
            if partition in self._owners:
                continue
            candidates = self._current_at(partition) or self._behind_at(partition) or list(self._reports)
            self._own(partition, min(candidates, key=lambda name: len(self.shares[name].owned)))

    def balance(self) -> None:
        """Move partitions until no worker has two more than another, counting those that are coming."""
        planned = Counter({name: len(share.owned) for name, share in self.shares.items()})
        coming: set[int] = set()
        while True:
            giver = max(self.shares, key=lambda name: planned[name])
            taker = min(self.shares, key=lambda name: planned[name])
            if planned[giver] - planned[taker] < 2:
                return
            partition = min(self.shares[giver].owned - coming, key=lambda p: (self._cost(p, giver, taker), p))
            if self._cost(partition, giver, taker) < _WAITS:
                self.shares[giver].owned.discard(partition)
                self._own(partition, taker)
            else:
                self.shares[taker].coming.add(partition)
                coming.add(partition)
            planned[giver] -= 1
            planned[taker] += 1

    def place_standbys(self) -> None:
        """Give each partition a standby: where it has a table already, if that leaves room for a takeover."""
        if len(self.shares) > 1:
            used: Counter[tuple[str, str]] = Counter()
            places = {partition: self._tables_of(partition) for partition in self._partitions}
            rooms = {name: self._room(name) for name in self.shares}
            for partition in sorted(self._partitions, key=lambda p: not places[p]):
                owner = self._owners[partition]
                others = [name for name in self.shares if name != owner]
                fitting = [name for name in others if used[owner, name] < rooms[name]] or others
                kept = [name for name in places[partition] if name in fitting]
                name = kept[0] if kept else min(fitting, key=self._standby_load)
                used[owner, name] += 1
                self.shares[name].standbys.add(partition)
        for share in self.shares.values():
            share.standbys |= share.coming

    def _own(self, partition: int, name: str) -> None:
        self._owners[partition] = name
        self.shares[name].owned.add(partition)

    def _current(self, name: str) -> Collection[int]:
        return self._reports[name].current or ()

    def _current_at(self, partition: int) -> list[str]:
        return [name for name in self._reports if partition in self._current(name)]

    def _behind_at(self, partition: int) -> list[str]:
        return [name for name, report in self._reports.items() if partition in report.standbys]

    def _cost(self, partition: int, giver: str, taker: str) -> int:
        """Rate a move: current tables first, then those that nobody serves, then those that are to be waited for."""
        if partition in self._current(taker):
            return 0
        waits = self._reports[taker].current is not None and partition in self._current(giver)
        return (_WAITS if waits else 1) + (partition not in self._reports[taker].standbys)

    def _tables_of(self, partition: int) -> list[str]:
        """Return the workers that have a table of a partition and do not own it, current ones first."""
        holders = dict.fromkeys(self._current_at(partition) + self._behind_at(partition))
        return [name for name in holders if name != self._owners[partition]]

    def _room(self, name: str) -> int:
        """Return how many partitions of one other worker this one could take over."""
        most = -(-len(self._partitions) // (len(self.shares) - 1))
        return max(0, most - len(self.shares[name].owned))

    def _standby_load(self, name: str) -> tuple[bool, int]:
        # A worker that does not say which tables are current may keep none.
        return self._reports[name].current is None, len(self.shares[name].standbys)


# Costs from which on a move waits.
_WAITS = 3
