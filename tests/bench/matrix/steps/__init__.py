"""What the steps of a schedule do to a cell, and the comparison that ends a block."""

from collections.abc import Awaitable, Callable, Mapping

from tests.bench.matrix.cell import Cell
from tests.bench.matrix.schedule import Block, Kind, Step
from tests.bench.matrix.steps.cases import case
from tests.bench.matrix.steps.comparing import compare
from tests.bench.matrix.steps.groups import group
from tests.bench.matrix.steps.kills import kill, refuse
from tests.bench.matrix.steps.pauses import pause
from tests.bench.matrix.steps.restarts import restart
from tests.bench.matrix.steps.upgrades import upgrade

STEPS: Mapping[Kind, Callable[[Cell, Step], Awaitable[None]]] = {
    "kill": kill,
    "group": group,
    "pause": pause,
    "refuse": refuse,
    "restart": restart,
    "upgrade": upgrade,
    "case": case,
}


async def run_block(cell: Cell, block: Block, seed: int, is_over: Callable[[], bool]) -> None:
    """Do all steps of a block, then compare everything; nothing more once the run is over."""
    cell.load.go()
    for step in block:
        if is_over():
            return
        cell.where = f"seed {seed} step {step.number} ({step.kind} {step.point} {step.table})"
        await STEPS[step.kind](cell, step)
        cell.count_replays()
    cell.where = f"seed {seed} after step {block[-1].number}"
    await compare(cell)
