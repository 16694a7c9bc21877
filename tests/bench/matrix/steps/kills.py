"""Kills of the only worker at a point, and requests that Kafka refuses there."""

import asyncio
import signal
import time

from tests.bench.matrix.cell import Cell
from tests.bench.matrix.faults import REVOKE_POINTS
from tests.bench.matrix.forks import Worker
from tests.bench.matrix.schedule import RANDOM, Step

# A fault that is not reached in this time, beyond a session, gives way to a signal from outside.
REACH_S = 25.0


async def kill(cell: Cell, step: Step) -> None:
    """Kill the only worker where the step says."""
    await _end_all(cell)
    cell.treat("a", step.table)
    is_random = step.point == RANDOM
    worker = await cell.start("a", None if is_random else {"point": step.point, "at": step.at, "action": "kill"})
    if is_random:
        # From before it joins until it folds.
        await asyncio.sleep(step.after_s / 1.5 * (cell.options.session_s + 1.5))
    elif step.point in REVOKE_POINTS:
        await cell.taken_over(time.monotonic())
        cell.treat("b", "kept")
        await cell.start("b")
    killed_at = await _reach(cell, worker, step)
    cell.alive.pop("a", None)
    code = await cell.wait_end(worker)
    if code == -signal.SIGKILL:
        cell.tally.kills[killed_at] += 1
        cell.tally.missed.update([step.point] if killed_at != step.point else [])
    else:
        cell.note_self_ended(worker)
    await cell.judge_tables("a")
    if "b" in cell.alive:
        await cell.taken_over(time.monotonic())
        await cell.end("b", signal.SIGKILL)
        cell.tally.kills[RANDOM] += 1
        await cell.judge_tables("b")


async def _reach(cell: Cell, worker: Worker, step: Step) -> str:
    """Wait until a worker has killed itself; do it from outside where it does not, or should not itself."""
    if step.point != RANDOM:
        await asyncio.wait([worker.ended], timeout=REACH_S + cell.options.session_s)
    killed_at = RANDOM if worker.is_alive else step.point
    worker.send(signal.SIGKILL)
    return killed_at


async def refuse(cell: Cell, step: Step) -> None:
    """Have Kafka refuse a request of the only worker, which goes on, and kill it some time later."""
    await _end_all(cell)
    cell.treat("a", step.table)
    before = cell.num_self_ended
    worker = await cell.start("a", {"point": step.point, "at": step.at, "action": "refuse"})

    async def is_refused() -> bool:
        return not worker.is_alive or f"fault: refuse at {step.point}" in worker.log.read_text(errors="replace")

    await cell.until(is_refused, f"a request is refused at {step.point}", REACH_S + cell.options.session_s)
    await cell.taken_over(time.monotonic())
    cell.tally.refusals[step.point] += 1
    cell.tally.refusal_exits += cell.num_self_ended - before
    await cell.end("a", signal.SIGKILL if step.choice < 0.5 else signal.SIGTERM)
    await cell.judge_tables("a")


async def _end_all(cell: Cell) -> None:
    for name in list(cell.alive):
        await cell.end(name, signal.SIGTERM)
