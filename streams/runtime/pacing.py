"""Priority on the event loop: listens are processed in short slices and yield to waiting session-starts.

Both lanes of a worker share one thread. A session-start takes about ten iterations of the event loop from its fetch to
its acknowledged answer, and waits for listens in each of them: under a backlog, slices of 4 ms made that 40 ms. So the
listen lane calls `yield_if_due` before every small piece of work. At the end of a slice the loop runs a few iterations,
which lets new records reach the session lane, and while a session-start is in flight the listen lane pauses until the
answer is on its way to Kafka.

Listens are still processed under any number of session-starts: they pause for a bounded share of the time. Pause time
that is not used accumulates up to a limit.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Hashable

# A record takes four loop iterations from the socket to the waiting lane; one iteration costs about 20 us.
LOOP_ITERATIONS = 4
# Accumulated pause time: enough for a few session-starts in a row, too little to affect the throughput of listens.
MAX_SAVED_S = 0.05
# A piece of work may exceed its slice by this factor.
MAX_SLICES = 4
# While session-starts arrive, and for `BUSY_S` after the last one: slices and batches are reduced to these shares, and
# the loop runs this often after a slice. The indivisible parts of a batch (its write, its transaction) get shorter, and
# a session-start finds the loop free more often. Under a backlog this takes a third of the rate of listens.
BUSY_SLICE_SHARE, BUSY_BATCH_SHARE, BUSY_LOOP_ITERATIONS = 0.5, 0.3, 12
BUSY_S = 1.0


class Pacer:
    """Shares the event loop between the listen lane and the session lane of a worker.

    Args:
        slice_ms: Work on listens before the event loop gets control; half of it while session-starts arrive.
        listen_share: Minimum share of the time for listens while session-starts wait, in (0, 1].
        clock: Monotonic seconds.

    Attributes:
        working: Held while working in slices; two concurrent holders would double the length of the slices.
    """

    def __init__(
        self, slice_ms: float = 2.0, listen_share: float = 0.85, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.working = asyncio.Lock()
        self._waiting: set[Hashable] = set()
        self._slice_s = slice_ms / 1e3
        self._hold_per_work = (1.0 - listen_share) / listen_share
        self._clock = clock
        self._saved_s = 0.0
        self._began_s = clock()
        self._busy_until_s = self._began_s
        self._free = asyncio.Event()
        self._free.set()
        self._folded = asyncio.Event()

    @property
    def sessions_waiting(self) -> int:
        """Number of session-starts that are fetched and whose answers are not yet on their way to Kafka."""
        return len(self._waiting)

    def session_begins(self, session: Hashable) -> None:
        """Note that a session-start needs the event loop; `session` is its key."""
        self._waiting.add(session)
        self._busy_until_s = self._clock() + BUSY_S
        self._free.clear()

    def session_ends(self, session: Hashable) -> None:
        """Note that a session-start no longer needs the event loop; idempotent."""
        self._waiting.discard(session)
        if not self._waiting:
            self._free.set()

    def batch_records(self, most: int) -> int:
        """Return the current maximum of listens per batch and partition; `most` without recent session-starts."""
        return max(1, round(BUSY_BATCH_SHARE * most)) if self._is_busy(self._clock()) else most

    def listens_folded(self) -> None:
        """Wake the waiters of `wait_folded`."""
        folded, self._folded = self._folded, asyncio.Event()
        folded.set()

    async def wait_folded(self, limit_s: float) -> None:
        """Wait until more listens are folded, at most `limit_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._folded.wait()

    async def yield_if_due(self) -> None:
        """Return at once within a slice; at its end yield to other tasks, and pause while session-starts wait."""
        now_s = self._clock()
        worked_s, slice_s, iterations = now_s - self._began_s, self._slice_s, LOOP_ITERATIONS
        if self._is_busy(now_s):
            slice_s, iterations = BUSY_SLICE_SHARE * slice_s, BUSY_LOOP_ITERATIONS
        if worked_s < slice_s:
            return
        # Anything longer was not work: the lane waited for an ack, or other processes used the cores.
        self._saved_s += min(worked_s, MAX_SLICES * slice_s) * self._hold_per_work
        self._saved_s = min(MAX_SAVED_S, self._saved_s)
        await _yield_to_loop(iterations)
        if self._waiting:
            while self._waiting and self._saved_s > 0.0:
                await self._pause()
            # The answer takes as many iterations to the socket as the request took from it.
            await _yield_to_loop(iterations)
        self._began_s = self._clock()

    def _is_busy(self, now_s: float) -> bool:
        return bool(self._waiting) or now_s < self._busy_until_s

    async def _pause(self) -> None:
        began_s = self._clock()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._saved_s):
                await self._free.wait()
        self._saved_s -= self._clock() - began_s


async def _yield_to_loop(iterations: int) -> None:
    for _ in range(iterations):
        await asyncio.sleep(0)
