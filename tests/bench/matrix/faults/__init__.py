"""Faults inside a worker: at the n-th time that it comes to a point, it kills or stops itself, or Kafka refuses.

Points of one batch, in order: fold, folded, begin, send (first changelog batch), dead_letters (acknowledged), sent (all
acknowledged), offsets (taken into the transaction), commit, committed, write (RocksDB), written. Of a batch with
erasures: erase (its requests are known), erase_commit, erase_committed. Of live counts: counts (before they are sent),
count_commit, count_committed, and of their totals: totals (before they are sent), total_commit, total_committed. Of an
assignment: assigned, fence, fenced, positions (committed offsets read), restore (changelog records read),
restore_write, restored. Of the group: revoke, revoked. Of a session-start: answer, answered.
"""

import os
import signal

from aiokafka.errors import NotEnoughReplicasError

TRANSACTION_POINTS = ("begin", "send", "dead_letters", "sent", "offsets", "commit", "committed")
BATCH_POINTS = ("fold", "folded", *TRANSACTION_POINTS, "write", "written")
RESTORE_POINTS = ("restore", "restore_write", "restored")
ASSIGNMENT_POINTS = ("assigned", "fence", "fenced", "positions", *RESTORE_POINTS)
REVOKE_POINTS = ("revoke", "revoked")
SESSION_POINTS = ("answer", "answered")
ERASURE_POINTS = ("erase", "erase_commit", "erase_committed")
COUNT_POINTS = ("counts", "count_commit", "count_committed", "totals", "total_commit", "total_committed")
BESIDE_POINTS = (*ERASURE_POINTS, *COUNT_POINTS)
POINTS = (*BATCH_POINTS, *BESIDE_POINTS, *ASSIGNMENT_POINTS, *REVOKE_POINTS, *SESSION_POINTS)
# Where Kafka refuses a request with an error that may be retried. At "committed" the transaction was committed, and its
# answer is lost.
REFUSE_POINTS = ("fence", "send", "sent", "offsets", "commit", "committed", "erase_committed", "count_committed")
# Only transactions have these.
TRANSACTIONAL_ONLY = frozenset(
    {"fence", "fenced", "begin", "sent", "offsets", "commit", "committed"}
    | {"erase_commit", "erase_committed", "count_commit", "count_committed", "total_commit", "total_committed"}
)


class Fault:
    """What happens, where, and at which time.

    Args:
        point: One of `POINTS`; none for nowhere.
        at: Which time, from 1.
        action: kill (SIGKILL), pause (SIGSTOP, until somebody continues it), or refuse (Kafka's error).
        restore_s: How long each read of a changelog takes.
    """

    def __init__(self, point: str | None = None, at: int = 1, action: str = "kill", restore_s: float = 0.0) -> None:
        self.point, self.at, self.action, self.restore_s = point, at, action, restore_s
        self.count = 0

    def reach(self, point: str) -> None:
        """Come to a point.

        Raises:
            NotEnoughReplicasError: The fault is that Kafka refuses.
        """
        if point != self.point:
            return
        self.count += 1
        if self.count != self.at:
            return
        os.write(1, f"fault: {self.action} at {point}\n".encode())
        if self.action == "refuse":
            raise NotEnoughReplicasError(f"made up at {point}")
        os.kill(os.getpid(), signal.SIGKILL if self.action == "kill" else signal.SIGSTOP)
