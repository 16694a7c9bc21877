"""Who goes first on the event loop: listens are worked on in short slices and stand back while session-starts wait.

Both lanes of a worker share one thread. A session-start takes about ten turns of the event loop from its fetch to its
acknowledged answer, and waits for the listens in each of them: under a backlog, slices of 4 ms made that 40 ms. So the
listen lane asks here before every small piece of work (`turn`). At the end of a slice the loop turns a few times, which
lets whatever came in meanwhile reach the session lane, and while a session-start is in flight the listen lane works no
further, until it is answered.

Listens still drain under any number of session-starts: they stand back for a share of the time, never longer. What
they do not use of it is saved up to a bound.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

# A record takes four turns of the loop from the socket to the lane that waits for it; one turn costs about 20 us.
TURNS = 4
# Saved standing back: enough for a few session-starts in a row, too little to be seen in how fast listens drain.
MAX_SAVED_S = 0.05


class Pacer:
    """What the listen lane and the session lane of a worker share.

    Args:
        slice_ms: Work on listens before the event loop turns.
        listen_share: Least share of the time that listens keep while session-starts wait, in (0, 1].
        clock: Monotonic seconds.

    Attributes:
        working: Held by whoever works in slices; two of them would make slices of twice the length.
        sessions_waiting: Session-starts fetched and not answered.
    """

    def __init__(
        self, slice_ms: float = 2.0, listen_share: float = 0.5, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.working = asyncio.Lock()
        self.sessions_waiting = 0
        self._slice_s = slice_ms / 1e3
        self._hold_per_work = (1.0 - listen_share) / listen_share
        self._clock = clock
        self._saved_s = 0.0
        self._began_s = clock()
        self._free = asyncio.Event()
        self._free.set()
        self._folded = asyncio.Event()

    def session_begins(self) -> None:
        """Note a session-start that was fetched."""
        self.sessions_waiting += 1
        self._free.clear()

    def session_ends(self) -> None:
        """Note a session-start that is answered, or given up."""
        self.sessions_waiting -= 1
        if not self.sessions_waiting:
            self._free.set()

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
        self._saved_s = min(MAX_SAVED_S, self._saved_s + worked_s * self._hold_per_work)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        while self.sessions_waiting and self._saved_s > 0.0:
            await self._stand_back()
        self._began_s = self._clock()

    async def _stand_back(self) -> None:
        began_s = self._clock()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._saved_s):
                await self._free.wait()
        self._saved_s -= self._clock() - began_s
