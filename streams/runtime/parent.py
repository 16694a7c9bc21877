"""Child processes that end with the process that started them, also where that one is killed.

The child's standard input is a pipe whose writing end the parent alone holds: the kernel closes it when the parent
ends, however it ends. No polling, no process id that may be reused, and no signal that one thread's end would send.
"""

import os
import signal
import stat
import threading
from functools import cache


@cache
def lifeline() -> int:
    """Return the standard input for child processes: it ends when this process has ended."""
    # The writing end is never closed, and no child inherits it.
    reading, _ = os.pipe()
    return reading


def end_with_parent() -> None:
    """Send this process SIGTERM once its standard input, the parent's `lifeline`, has ended."""
    threading.Thread(target=_follow_parent, name="parent", daemon=True).start()


def _follow_parent() -> None:
    while os.read(0, 1):
        pass
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        # The parent read it: the shutdown must not fail on its log lines.
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.dup2(null, descriptor)
    os.close(null)
    os.kill(os.getpid(), signal.SIGTERM)
