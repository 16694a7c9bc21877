"""Progress of a restore, logged every few seconds and reported by `/readyz`."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from sidestream.streams.runtime.logs.log import get_log

_log = get_log(__name__)

LOG_EVERY_S = 5.0


@dataclass(slots=True)
class RestoreProgress:
    """Restore progress of one partition, in changelog offsets.

    Attributes:
        partition: Partition number.
        start: First offset to read.
        position: Next offset to read.
        end: Offset after the last one to read.
        per_s: Offsets per second since the restore began; 0 while nothing has been read.
    """

    partition: int
    start: int
    position: int
    end: int
    per_s: float = 0.0

    @property
    def done(self) -> int:
        """Number of offsets read."""
        return self.position - self.start

    @property
    def total(self) -> int:
        """Total number of offsets to read; due to compaction there are fewer records."""
        return self.end - self.start

    @property
    def remaining(self) -> int:
        """Number of offsets still to read."""
        return max(0, self.end - self.position)

    @property
    def left_s(self) -> float | None:
        """Estimated seconds to the end; None while the rate is unknown."""
        return self.remaining / self.per_s if self.per_s else None


class ProgressLog:
    """Updates the rates of one restore and logs its progress.

    Args:
        topic: Changelog topic.
        progress: Progress by partition; this class updates its rates.
        clock: Monotonic seconds.
    """

    def __init__(
        self, topic: str, progress: Mapping[int, RestoreProgress], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._topic, self._progress, self._clock = topic, progress, clock
        self._began_s = self._logged_s = clock()

    def note(self) -> None:
        """Update the rates, and log a line if one is due."""
        now_s = self._clock()
        passed_s = now_s - self._began_s
        for progress in self._progress.values():
            progress.per_s = progress.done / passed_s if passed_s > 0 else 0.0
        if now_s - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now_s
            lefts_s = [progress.left_s for progress in self._progress.values() if progress.remaining]
            # Partitions are read concurrently; the slowest one determines when folding resumes.
            left_s = None if not lefts_s or None in lefts_s else round(max(filter(None, lefts_s)), 1)
            self._log("restoring user states", left_s=left_s)

    def end(self) -> None:
        """Log that everything is restored."""
        self._log("user states restored", seconds=round(self._clock() - self._began_s, 2))

    def _log(self, event: str, **more: float | None) -> None:
        parts = self._progress.values()
        done, total = sum(part.done for part in parts), sum(part.total for part in parts)
        passed_s = max(1e-9, self._clock() - self._began_s)
        partitions = sum(1 for part in parts if part.remaining) or len(self._progress)
        per_s = round(done / passed_s)
        _log.info(event, topic=self._topic, partitions=partitions, done=done, total=total, per_s=per_s, **more)


class Restoring(Protocol):
    """Restore state of a lane."""

    @property
    def partitions(self) -> Collection[int]:
        """Owned partitions, ready or not."""

    @property
    def restore_progress(self) -> Mapping[int, RestoreProgress]:
        """Progress by partition; empty before a restore begins."""

    @property
    def troubles(self) -> Mapping[int, str]:
        """Why owned partitions cannot be folded now, by partition."""

    def is_ready(self, partition: int) -> bool:
        """Return whether a partition's table is restored."""


def not_restored(lane: Restoring) -> list[str]:
    """Return one line per partition that is not restored yet or not folded now, with what is known about it."""
    reasons = []
    for partition in sorted(lane.partitions):
        if (trouble := lane.troubles.get(partition)) is not None:
            reasons.append(f"partition {partition} is not folded now: {trouble}")
        if lane.is_ready(partition):
            continue
        reason, progress = f"restoring partition {partition}", lane.restore_progress.get(partition)
        if progress is not None and progress.remaining:
            reason += f": {progress.done:,} of {progress.total:,}"
            if progress.left_s is not None:
                reason += f", {progress.left_s:,.0f} s left"
        reasons.append(reason)
    return reasons
