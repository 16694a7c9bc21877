"""Restarts, kills and leader moves of three brokers under two workers."""

import asyncio
import signal
import time

from tests.bench.matrix.cell import NAMES, Cell
from tests.bench.matrix.options import StepError
from tests.bench.matrix.schedule import Step
from tests.bench.matrix.steps.groups import join
from tests.integration.rigs.three_brokers import NODES, ThreeBrokers


async def restart(cell: Cell, step: Step) -> None:
    """Restart a broker, or move all leaders, while two workers go on; in a part of the steps, one of them is killed.

    A worker that ends by itself meanwhile is what the step looks for.
    """
    brokers = cell.place.brokers
    if brokers is None:
        raise StepError(f"{cell.where}: expected three brokers of this run's own, got none")
    for name in NAMES:
        if name not in cell.alive:
            await join(cell, name, step.table)
    before, began_s = cell.num_self_ended, time.monotonic()
    if step.point == "move leaders":
        await asyncio.to_thread(brokers.move_leaders, step.number)
    else:
        await _without(cell, brokers, step)
    await cell.taken_over(time.monotonic())
    for name in list(cell.alive):
        await cell.joined(name)
    cell.tally.restart_settled_s.append(time.monotonic() - began_s)
    cell.tally.restarts[step.point] += 1
    cell.tally.restart_exits += cell.num_self_ended - before


async def _without(cell: Cell, brokers: ThreeBrokers, step: Step) -> None:
    number = 1 + int(step.choice * NODES) % NODES
    node = brokers.node(number)
    if step.point == "SIGKILL":
        await asyncio.to_thread(node.kill)
    else:
        await asyncio.to_thread(node.stop, brokers.settings.stop_timeout_s)
    try:
        await asyncio.sleep(step.after_s)
        if step.point == "worker dies":
            await cell.end(NAMES[step.number % 2], signal.SIGKILL)
        await cell.taken_over(time.monotonic())
    finally:
        await asyncio.to_thread(brokers.start, number)
    await asyncio.to_thread(brokers.wait_whole)
