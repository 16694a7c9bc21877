"""How far a restore has come: in the log every few seconds, and for `/readyz`."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from sidestream.streams.runtime.logs.log import get_log

_log = get_log(__name__)

LOG_EVERY_S = 5.0


@dataclass(slots=True)
class RestoreProgress:
    """How far one partition's restore has come, in changelog offsets.

    Attributes:
        partition: Which.
        start: First offset to read.
        position: Next offset to read.
        end: The offset after the last.
        per_s: Offsets a second since the restore began; 0 as long as nothing was read.
    """

    partition: int
    start: int
    position: int
    end: int
    per_s: float = 0.0

    @property
    def done(self) -> int:
        """Offsets read."""
        return self.position - self.start

    @property
    def total(self) -> int:
        """Offsets to read in all; compaction makes the number of records smaller."""
        return self.end - self.start

    @property
    def remaining(self) -> int:
        """Offsets still to read."""
        return max(0, self.end - self.position)

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest takes at this rate; none while there is no rate."""
        return self.remaining / self.per_s if self.per_s else None


class ProgressLog:
    """Keeps the rates of one restore, and tells of it in the log.

    Args:
        topic: The changelog.
        progress: By partition; its rates are kept up to date here.
        clock: Monotonic seconds.
    """

    def __init__(
        self, topic: str, progress: Mapping[int, RestoreProgress], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._topic, self._progress, self._clock = topic, progress, clock
        self._began_s = self._told_s = clock()

    def note(self) -> None:
        """Bring the rates up to date, and write a line where it is time for one."""
        now_s = self._clock()
        passed_s = now_s - self._began_s
        for progress in self._progress.values():
            progress.per_s = progress.done / passed_s if passed_s > 0 else 0.0
        if now_s - self._told_s >= LOG_EVERY_S:
            self._told_s = now_s
            lefts_s = [progress.left_s for progress in self._progress.values() if progress.remaining]
            # Partitions are read side by side; the last one decides when listens go on.
            left_s = None if not lefts_s or None in lefts_s else round(max(filter(None, lefts_s)), 1)
            self._tell("restoring user states", left_s=left_s)

    def end(self) -> None:
        """Say that all is restored."""
        self._tell("user states restored", seconds=round(self._clock() - self._began_s, 2))

    def _tell(self, event: str, **more: float | None) -> None:
        parts = self._progress.values()
        done, total = sum(part.done for part in parts), sum(part.total for part in parts)
        passed_s = max(1e-9, self._clock() - self._began_s)
        partitions = sum(1 for part in parts if part.remaining) or len(self._progress)
        per_s = round(done / passed_s)
        _log.info(event, topic=self._topic, partitions=partitions, done=done, total=total, per_s=per_s, **more)


class Restoring(Protocol):
    """A lane, as far as its restore goes."""

    @property
    def partitions(self) -> Collection[int]:
        """Owned partitions, ready or not."""

    @property
    def restore_progress(self) -> Mapping[int, RestoreProgress]:
        """By partition; empty before a restore begins."""

    def ready(self, partition: int) -> bool:
        """Tell whether a partition's table is restored."""


def not_restored(lane: Restoring) -> list[str]:
    """Say which partitions are not restored yet, how far they are, and how long the rest takes.

    Args:
        lane: The listen lane.

    Returns:
        A line for each.
    """
    reasons = []
    for partition in sorted(lane.partitions):
        if lane.ready(partition):
            continue
        reason, progress = f"restoring partition {partition}", lane.restore_progress.get(partition)
        if progress is not None and progress.remaining:
            reason += f": {progress.done:,} of {progress.total:,}"
            if progress.left_s is not None:
                reason += f", {progress.left_s:,.0f} s left"
        reasons.append(reason)
    return reasons
