"""Shortens Python's garbage collections, and makes full ones rare.

A full collection visits every object that may be part of a cycle. Most of them are in the worker's modules, models and
catalogue, which are excluded. Under a backlog, 40,000 listens wait in memory, none of which is part of a cycle: a full
collection every two seconds took 70 ms, in which no session-start was answered, and found nothing.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Net allocations before the youngest generation is collected, and collections of a generation before the next older one
# is. Python's own are 700, 10 and 10. Fetched records are tracked objects: with 700, the lane spent a quarter of its
# CPU time on collections that found nothing. A collection of 50,000 takes 2 to 4 ms. Full ones come every ten million
# allocations. Python 3.14 collects in increments and ignores the third.
THRESHOLDS = (50_000, 1, 100)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect as rarely as a worker should."""
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


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
