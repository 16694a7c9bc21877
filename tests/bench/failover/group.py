"""Several workers of one group: started, settled, restarted in turn; and the pauses that users see meanwhile."""

import shutil
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.fleet.installation import Installation, Worker
from tests.bench.support.open_loop import Load
from tests.bench.support.rig import partition_of, wait_until

SLOW_S = 1.0


@dataclass(frozen=True)
class Restart:
    """A worker that was stopped and started again; times in monotonic seconds.

    Attributes:
        worker: Its name.
        code: Exit code of the stop.
        began_s: SIGTERM.
        ended_s: Its process was gone.
        ready_s: All workers were ready again.
    """

    worker: str
    code: int | None
    began_s: float
    ended_s: float
    ready_s: float


@dataclass(frozen=True)
class Pause:
    """Session-starts of one partition, one after the other, that were answered late.

    Attributes:
        partition: Which.
        began_s: When the first of them was due, in monotonic seconds.
        seconds: From then to the last answer.
    """

    partition: int
    began_s: float
    seconds: float


class Group:
    """Workers of one installation, each with a folder of its own.

    Args:
        installation: Their topics.
        name: Of the group's folders.
        count: How many.
        flags: Settings of all of them.
        is_static: Whether each has a `worker.group_instance_id`.
    """

    def __init__(
        self, installation: Installation, name: str, count: int, flags: Mapping[str, Any], is_static: bool = False
    ) -> None:
        self.partitions = installation.topics.listens.partitions
        # One user of each partition: whose state a worker shows, it owns.
        numbered = (f"user-{number}" for number in range(self.partitions * 100))
        self._users = {partition_of(user.encode(), self.partitions): user for user in numbered}
        self.workers: list[Worker] = []
        for number in range(count):
            own = {**flags, **({"worker.group_instance_id": f"{name}-{number}"} if is_static else {})}
            self.workers.append(installation.worker(f"{name}-{number}", own))

    def start(self, timeout_s: float) -> None:
        """Start all, and wait until each has its share of the partitions."""
        for worker in self.workers:
            worker.start()
        wait_until(self.is_settled, timeout_s, "all workers are ready and own all partitions")

    def is_settled(self) -> bool:
        """Tell whether all are ready, and own all partitions together and some each."""
        if ended := [worker.name for worker in self.workers if worker.has_ended]:
            raise RuntimeError(f"workers that ended by themselves: {ended}")
        if not all(worker.is_ready() for worker in self.workers):
            return False
        owned = [self.owned(worker) for worker in self.workers]
        return all(owned) and sorted(p for one in owned for p in one) == list(range(self.partitions))

    def owned(self, worker: Worker) -> list[int]:
        """Ask a worker for the partitions that it owns."""
        return [partition for partition, user in self._users.items() if worker.owns(user)]

    def has_standbys(self) -> bool:
        """Tell whether every partition has a standby that lacks nothing."""
        behind = {p: lag for worker in self.workers for p, lag in worker.standbys().items()}
        return len(behind) == self.partitions and not any(lag is None or lag for lag in behind.values())

    def restart_in_turn(self, gap_s: float, timeout_s: float, has_standbys: bool) -> list[Restart]:
        """Stop and start each, and go on when all are ready, with standbys if they have any, and a gap is over."""
        restarts = []
        for worker in self.workers:
            began_s = time.monotonic()
            code = worker.stop()
            ended_s = time.monotonic()
            worker.start()
            wait_until(self.is_settled, timeout_s, f"all are ready after the restart of {worker.name}")
            restarts.append(Restart(worker.name, code, began_s, ended_s, time.monotonic()))
            if has_standbys:
                wait_until(self.has_standbys, timeout_s, f"standbys are current after the restart of {worker.name}")
            time.sleep(gap_s)
        return restarts

    def close(self) -> None:
        """End all, and delete their folders."""
        for worker in self.workers:
            if not worker.has_ended:
                worker.stop()
            shutil.rmtree(worker.folder, ignore_errors=True)


def find_pauses(load: Load, partitions: int, give_up_s: float) -> list[Pause]:
    """Find the pauses in what session-starts saw.

    Args:
        load: What was asked and answered.
        partitions: Of the users.
        give_up_s: When open ones were given up, in monotonic seconds.
    """
    of_partition: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for session, at_s in load.scheduled.items():
        partition = partition_of(load.users[session].encode(), partitions)
        of_partition[partition].append((at_s, load.answered.get(session, give_up_s)))
    pauses = []
    for partition, asked in sorted(of_partition.items()):
        slow: list[tuple[float, float]] = []
        for at_s, answered_s in [*sorted(asked), (give_up_s, give_up_s)]:
            if answered_s - at_s > SLOW_S:
                slow.append((at_s, answered_s))
            elif slow:
                pauses.append(Pause(partition, slow[0][0], max(end for _, end in slow) - slow[0][0]))
                slow = []
    return pauses
