"""Pauses of a worker past its session, while another one takes over."""

import asyncio
import signal
import time

from tests.bench.matrix.cell import NAMES, PATIENCE_S, Cell
from tests.bench.matrix.forks import Worker
from tests.bench.matrix.options import StepError
from tests.bench.matrix.schedule import RANDOM, Step
from tests.bench.matrix.steps.kills import REACH_S

FENCED_EXIT = 70


async def pause(cell: Cell, step: Step) -> None:
    """Stop a worker for longer than its session while another one takes over, and wake it up again."""
    # One that was paused may have come back beside its heir; a worker alone, and one of two, are both paused.
    for name in list(cell.alive):
        if step.choice < 0.5 or len(cell.alive) > 1:
            await cell.end(name, signal.SIGTERM)
    victim = next(name for name in NAMES if name not in cell.alive)
    cell.treat(victim, step.table)
    fault = None if step.point == RANDOM else {"point": step.point, "at": step.at, "action": "pause"}
    worker = await cell.start(victim, fault)
    await _stopped(cell, worker, step)
    await replaced(cell, worker)
    cell.tally.pauses[step.point] += 1
    await woken(cell, worker)


async def replaced(cell: Cell, worker: Worker) -> None:
    """Have another worker take over from one that is stopped, and let its session end."""
    cell.alive.pop(worker.name)
    began_s = time.monotonic()
    if not cell.alive:
        await cell.start(next(name for name in NAMES if name != worker.name))
    await cell.taken_over(began_s)
    await asyncio.sleep(max(0.0, cell.options.session_s - (time.monotonic() - began_s)))


async def woken(cell: Cell, worker: Worker) -> None:
    """Wake a worker up, wait until it has ended or is a member again, and until everything is folded again."""
    worker.send(signal.SIGCONT)
    cell.alive[worker.name] = worker
    cell.tally.pause_ends[await _settled(cell, worker)] += 1
    await cell.taken_over(time.monotonic())


async def _stopped(cell: Cell, worker: Worker, step: Step) -> None:
    if step.point == RANDOM:
        await cell.joined(worker.name)
        await asyncio.sleep(step.after_s)
    else:
        until_s = time.monotonic() + REACH_S + cell.options.session_s
        while not worker.is_stopped and worker.is_alive and time.monotonic() < until_s:
            await asyncio.sleep(0.05)
        if not worker.is_stopped:
            cell.tally.missed[step.point] += 1
    worker.send(signal.SIGSTOP)


async def _settled(cell: Cell, worker: Worker) -> str:
    name = worker.name

    async def is_settled() -> bool:
        return not worker.is_alive or await cell.is_ready(name)

    # A process just woken may answer before it knows what it missed.
    began_s = time.monotonic()
    await asyncio.wait([worker.ended], timeout=1.0)
    while not await is_settled():
        if time.monotonic() > began_s + PATIENCE_S:
            raise StepError(f"{cell.where}: {name} neither ended nor joined after its pause\n{cell.said(worker)}")
        await asyncio.sleep(0.1)
    cell.tally.pause_settled_s.append(time.monotonic() - began_s)
    if worker.is_alive:
        return "joined again"
    cell.alive.pop(name)
    code = await cell.wait_end(worker)
    await cell.judge_tables(name)
    return f"exit {code}, fenced" if code == FENCED_EXIT and "fenced" in cell.said(worker) else f"exit {code}"
