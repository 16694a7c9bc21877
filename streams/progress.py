"""What a part of the worker still has to do and how far it has come: what the watchdog judges."""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """One part's work at one moment.

    Attributes:
        waiting: How much waits; with 0 the part may be silent for ever.
        done: Changes whenever something gets done, and only then: news that pile up are no progress.
    """

    waiting: int
    done: Hashable = None


IDLE = Work(0)
