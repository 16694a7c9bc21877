"""How a process is told to end: SIGHUP ends what SIGTERM ends, and both clean up as Ctrl-C does.

Without handlers of our own, Python dies of SIGTERM and SIGHUP on the spot: `finally` blocks are skipped, and a local
Kafka or a child worker stays behind. Here both raise an exception in the main thread; the worker, whose event loop
takes signals itself, stops in order instead.

A signal that is ignored when the process starts stays ignored: that is what `nohup` asks for.
"""

import os
import signal
import stat
import sys
from types import FrameType

INTERRUPTED = 130
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))

_received: list[int] = []


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: what handles Ctrl-C handles it alike."""


def catch() -> None:
    """Let SIGTERM and SIGHUP raise `Terminated`, once; those that follow change nothing.

    Closing a terminal sends SIGHUP twice (the kernel and the shell), systemd sends SIGTERM and SIGHUP: the second one
    must not break off the cleaning up.
    """
    for number in _SIGNALS:
        if not is_ignored(number):
            signal.signal(number, _raise)


def is_ignored(number: int) -> bool:
    """Whether whoever started the process asked for this signal to be ignored."""
    return signal.getsignal(number) is signal.SIG_IGN


def hold_off() -> None:
    """Ignore SIGTERM and SIGHUP from now on: the process is ending and must not be disturbed at it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def leave(code: str | int | None) -> None:
    """End the process: by the signal that it was told to end with, if there was one, else with its exit code.

    Args:
        code: Exit code.
    """
    if _received:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue  # nobody reads any more
        signal.signal(_received[0], signal.SIG_DFL)
        os.kill(os.getpid(), _received[0])
    sys.exit(code)


def let_go_of_lost_terminal() -> None:
    """Send what is still written to a terminal that is gone to nowhere, where it would raise an error."""
    for descriptor in (1, 2):
        try:
            is_lost = stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor)
        except OSError:
            continue  # closed from the start
        if is_lost:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _raise(number: int, frame: FrameType | None) -> None:
    del frame
    if _received:
        return
    _received.append(number)
    let_go_of_lost_terminal()
    raise Terminated
