"""What is done to the workers: made of the seed alone, so that any step can be had again by its number."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tests.bench.matrix.faults import (
    BATCH_POINTS,
    BESIDE_POINTS,
    COUNT_POINTS,
    POINTS,
    REFUSE_POINTS,
    RESTORE_POINTS,
    SESSION_POINTS,
    TRANSACTIONAL_ONLY,
)

Kind = Literal["kill", "group", "pause", "refuse", "case", "upgrade", "restart"]
Table = Literal["kept", "lost", "stale"]
BLOCK_STEPS: Mapping[Kind, int] = {
    "kill": 8,
    "group": 8,
    "pause": 5,
    "refuse": 5,
    "case": 1,
    "upgrade": 1,
    "restart": 5,
}
# Each in topics of its own: they delete listens, or begin with another release.
ALONE = ("case", "upgrade")
RANDOM = "random"
# What becomes of one of two workers; where one is alone, the other one joins first.
GROUP_OPERATIONS = ("SIGKILL", "SIGTERM", "come back")
CASES = ("compacted_marker", "source_trimmed", "assigned_while_restoring", "stale_position")
# How the workers of the release before end.
UPGRADE_OPERATIONS = ("SIGTERM", "SIGKILL")
MOVE_LEADERS = "move leaders"
# What happens to a broker: stopped, killed, or stopped and a worker is killed meanwhile; the last one to all of them.
RESTART_OPERATIONS = ("restart", "SIGKILL", "worker dies", MOVE_LEADERS)


@dataclass(frozen=True)
class Step:
    """One thing that happens.

    Attributes:
        number: Its place in the run; names it together with the seed.
        kind: kill (of the only worker), group (two workers: one joins, leaves, is killed or is replaced), pause (past
            the session, while another one takes over), refuse (Kafka refuses a request), case (one of `CASES`),
            upgrade (from the release before), restart (of one of three brokers).
        point: Where a worker kills or stops itself, or Kafka refuses; "random": from outside, after `after_s`; of the
            other kinds: what is done.
        at: Which time it comes there.
        table: What becomes of its database before it starts.
        after_s: When a signal from outside comes.
        choice: Settles, between 0 and 1, what the state of the group leaves open.
    """

    number: int
    kind: Kind
    point: str
    at: int
    table: Table
    after_s: float
    choice: float


Block = tuple[Step, ...]
"""Steps that follow each other until everything is compared."""


def kill_points(guarantee: str) -> tuple[str, ...]:
    """Give the points that a worker of this guarantee comes to."""
    return tuple(p for p in POINTS if guarantee == "exactly_once" or p not in TRANSACTIONAL_ONLY)


def make_cells(
    seed: int, cells: int, counts: Mapping[Kind, int], guarantee: str, points: Sequence[str] = ()
) -> list[list[Block]]:
    """Make the schedule of a run.

    Args:
        seed: Of the run.
        cells: How many work at the same time.
        counts: Steps by kind.
        guarantee: Which points there are.
        points: Workers are killed and paused only at these, where given.

    Returns:
        By cell, its blocks in order; last, of a cell beside them, those that need three brokers.
    """
    rng = random.Random(seed)
    blocks: list[list[Step]] = []
    for kind in BLOCK_STEPS:
        choices = list(_choices(kind, guarantee, points))
        rng.shuffle(choices)
        # Every one once before any comes again.
        made = [_step(rng, kind, choices[number % len(choices)]) for number in range(counts.get(kind, 0))]
        count = -(-len(made) // BLOCK_STEPS[kind])
        size = -(-len(made) // max(1, count))
        blocks += [made[first : first + size] for first in range(0, len(made), size or 1)]
    rng.shuffle(blocks)
    numbers = itertools.count()
    numbered = [tuple(replace(step, number=next(numbers)) for step in block) for block in blocks]
    restarts = [block for block in numbered if block[0].kind == "restart"]
    others = [block for block in numbered if block[0].kind != "restart"]
    return [*(others[cell::cells] for cell in range(cells)), restarts]


def _choices(kind: Kind, guarantee: str, points: Sequence[str]) -> Sequence[str]:
    beside = {"group": GROUP_OPERATIONS, "case": CASES, "upgrade": UPGRADE_OPERATIONS, "restart": RESTART_OPERATIONS}
    if kind in beside:
        return beside[kind]
    if points:
        return points
    known = kill_points(guarantee)
    if kind == "refuse":
        return [point for point in REFUSE_POINTS if point in known]
    if kind == "pause":
        return (*(p for p in (*BATCH_POINTS, *BESIDE_POINTS) if p in known), RANDOM, RANDOM)
    return (*known, RANDOM, RANDOM, RANDOM)


def _step(rng: random.Random, kind: Kind, point: str) -> Step:
    # A restore without anything to restore comes to no point of it.
    tables: tuple[Table, ...] = ("lost", "stale") if point in RESTORE_POINTS else ("kept", "kept", "lost", "stale")
    # Counts are published every ten seconds, of four partitions.
    times = 2 if point in COUNT_POINTS else 8 if point in (*BATCH_POINTS, *SESSION_POINTS) else 1
    return Step(
        number=0,
        kind=kind,
        point=point,
        at=1 if point == "dead_letters" else rng.randint(1, times),
        table=rng.choice(tables),
        after_s=rng.uniform(0.1, 1.5),
        choice=rng.random(),
    )
