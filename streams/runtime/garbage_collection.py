"""Shortens Python's garbage collections by excluding a worker's long-lived objects.

A full collection visits every object that may be part of a cycle, most of them in the worker's modules, models and
catalogue: 0.1 s on a busy core, every two seconds under a backlog of listens, in which no session-start was answered.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def collect_and_freeze() -> None:
    """Collect once, and exclude all objects alive now from later collections; blocks for 0.1 to 0.2 s.

    Call it again after large changes: objects excluded before are collected first, so nothing is kept forever.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextmanager
def collection_paused() -> Iterator[None]:
    """Disable collection during a burst of short-lived objects without cycles: saves a fifth of a restore's time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
