"""Keeps Python's garbage collections short: what a worker holds for good is no longer looked at.

A full collection looks at every object that may be part of a cycle. A worker's modules, models and catalogue are most
of them: 0.1 s on a busy core, every two seconds under a backlog of listens, in which no session-start was answered.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def settle() -> None:
    """Collect once, and leave what is alive now out of later collections; blocks for 0.1 to 0.2 s.

    To be called again when much has changed: what was left out before is looked at first, so nothing is kept for ever.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextmanager
def paused() -> Iterator[None]:
    """Let no collection run for a burst of short-lived objects that make no cycles: a fifth of a restore's time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
