"""Who goes first on the event loop: listens are worked on in short slices and stand back while session-starts wait.

Both lanes of a worker share one thread. A session-start takes about ten turns of the event loop from its fetch to its
acknowledged answer, and waits for the listens in each of them: under a backlog, slices of 4 ms made that 40 ms. So the
listen lane asks here before every small piece of work (`turn`). At the end of a slice the loop turns a few times, which
lets whatever came in meanwhile reach the session lane, and while a session-start is in flight the listen lane works no
further, until the answer is on its way to Kafka.

Listens still drain under any number of session-starts: they stand back for a share of the time, never longer. What
they do not use of it is saved up to a bound.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Hashable

# A record takes four turns of the loop from the socket to the lane that waits for it; one turn costs about 20 us.
TURNS = 4
# Saved standing back: enough for a few session-starts in a row, too little to be seen in how fast listens drain.
MAX_SAVED_S = 0.05
# A piece of work may outlast its slice by this factor.
MAX_SLICES = 4
# While session-starts come, batches keep this share of their size: what a batch does in one piece (its write, its
# transaction) gets shorter, and listens become durable more evenly. For so long after the last one.
BUSY_BATCH_SHARE = 0.7
BUSY_S = 1.0


class Pacer:
    """What the listen lane and the session lane of a worker share.

    Args:
        slice_ms: Work on listens before the event loop turns.
        listen_share: Least share of the time that listens keep while session-starts wait, in (0, 1].
        clock: Monotonic seconds.

    Attributes:
        working: Held by whoever works in slices; two of them would make slices of twice the length.
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
        """How many session-starts are fetched, and their answers not on their way to Kafka."""
        return len(self._waiting)

    def session_begins(self, session: Hashable) -> None:
        """Note a session-start that needs the event loop.

        Args:
            session: Names it.
        """
        self._waiting.add(session)
        self._busy_until_s = self._clock() + BUSY_S
        self._free.clear()

    def session_ends(self, session: Hashable) -> None:
        """Note that a session-start needs the event loop no more; another call changes nothing.

        Args:
            session: Names it.
        """
        self._waiting.discard(session)
        if not self._waiting:
            self._free.set()

    def batch_records(self, most: int) -> int:
        """Say how many listens of a partition may go into one batch now.

        Args:
            most: Where no session-start came lately.

        Returns:
            At least one.
        """
        if self._waiting or self._clock() < self._busy_until_s:
            return max(1, round(BUSY_BATCH_SHARE * most))
        return most

    def listens_folded(self) -> None:
        """Wake those who wait for listens."""
        folded, self._folded = self._folded, asyncio.Event()
        folded.set()

    async def wait_folded(self, limit_s: float) -> None:
        """Wait until more listens are folded.

        Args:
            limit_s: Longest wait.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._folded.wait()

    async def turn(self) -> None:
        """Go on within a slice; at its end let others work, and stand back while session-starts wait."""
        worked_s = self._clock() - self._began_s
        if worked_s < self._slice_s:
            return
        # A longer time was no work: an ack was waited for, or other processes had the cores.
        self._saved_s += min(worked_s, MAX_SLICES * self._slice_s) * self._hold_per_work
        self._saved_s = min(MAX_SAVED_S, self._saved_s)
        await _let_others_turn()
        if self._waiting:
            while self._waiting and self._saved_s > 0.0:
                await self._stand_back()
            await _let_others_turn()  # the answer has as far to go to the socket as the question had from there
        self._began_s = self._clock()

    async def _stand_back(self) -> None:
        began_s = self._clock()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._saved_s):
                await self._free.wait()
        self._saved_s -= self._clock() - began_s


async def _let_others_turn() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
