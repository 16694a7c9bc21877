"""Joins, leaves, kills and replacements of one of two workers."""

import signal
import time

from tests.bench.matrix.cell import NAMES, Cell
from tests.bench.matrix.schedule import Step


async def group(cell: Cell, step: Step) -> None:
    """Let a worker join, leave, die or be replaced, while another one lives."""
    if not cell.alive:
        await cell.start("a")
        await cell.joined("a")
    await cell.supervise()
    if len(cell.alive) == 1:
        (new,) = set(NAMES) - set(cell.alive)
        await join(cell, new, step.table)
        cell.tally.steps["join"] += 1
        # A step of its own, and the one that was asked for needs two workers: it is done too.
    name = NAMES[int(step.choice * 1_000) % 2]
    worker = cell.alive.pop(name)
    began_s = time.monotonic()
    worker.send(signal.SIGKILL if step.point == "SIGKILL" else signal.SIGTERM)
    if step.point != "come back":
        cell.tally.note_failover(step.point, await cell.taken_over(began_s), cell.options.session_s)
    code = await cell.wait_end(worker)
    if code != (-signal.SIGKILL if step.point == "SIGKILL" else 0):
        cell.note_self_ended(worker)
    await cell.judge_tables(name)
    if step.point == "come back":
        await join(cell, name, step.table)
    cell.tally.steps[step.point] += 1


async def join(cell: Cell, name: str, table: str) -> None:
    """Start a worker beside others, and wait until everything is folded again."""
    cell.treat(name, table)
    await cell.start(name)
    await cell.joined(name)
    await cell.taken_over(time.monotonic())
