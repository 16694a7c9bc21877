"""All cells of one run, each with its schedule; and broken builds, each in a cell of its own."""

import argparse
import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tests.bench.matrix.builds import BROKEN
from tests.bench.matrix.cell import Cell, Place
from tests.bench.matrix.options import CODECS, CellOptions, StepError
from tests.bench.matrix.schedule import ALONE, Block, Kind, make_cells
from tests.bench.matrix.steps import run_block
from tests.bench.matrix.tally import Progress, Tally

MAX_FAILURES = 3
# One cell in so many has the defaults of a production set-up.
PRODUCTION_EVERY = 5

Say = Callable[[str], None]


class Run:
    """Cells with a schedule.

    Args:
        options: Of the run.
        place: What the cells share.
        three: The same on three brokers; none where no broker is restarted.
        progress: What was done before, and is done now.
        say: Told how far it is.
    """

    def __init__(
        self, options: argparse.Namespace, place: Place, three: Place | None, progress: Progress, say: Say
    ) -> None:
        self.options, self.place, self.three, self.progress, self.say = options, place, three, progress, say
        self.tally: Tally = progress.tally
        counts: dict[Kind, int] = {
            "kill": options.kills,
            "group": options.steps,
            "pause": options.pauses,
            "refuse": options.refusals,
            "case": options.cases,
            "upgrade": options.upgrades,
            "restart": options.restarts,
        }
        self.schedule = make_cells(options.seed, options.cells, counts, options.guarantee)
        self._before_s, self._began_s = progress.seconds, time.monotonic()

    async def run(self) -> None:
        """Run all cells to their end."""
        await asyncio.gather(*(self._cell(number) for number in range(len(self.schedule))))

    def is_over(self) -> bool:
        """Whether going on would tell nothing new."""
        return len(self.tally.failures) >= MAX_FAILURES

    async def _cell(self, number: int) -> None:
        blocks, lives = self.schedule[number], 0
        done = self.progress.blocks.get(str(number), 0)
        while done < len(blocks) and not self.is_over():
            lives += 1
            done = await self._live(number, f"cell-{number}-{lives}", blocks, done)

    async def _live(self, number: int, name: str, blocks: list[Block], done: int) -> int:
        """Let one cell live until its schedule ends or a step fails; returns how many blocks are done."""
        kind = blocks[done][0].kind
        place = self.three if kind == "restart" and self.three is not None else self.place
        cell = Cell(
            name, f"{self.options.seed}/{number}/{done}", place, cell_options(self.options, number, kind), self.tally
        )
        if kind == "upgrade":
            cell.old = {"a", "b"}
        try:
            await cell.open()
            while done < len(blocks) and not self.is_over() and _may_go_on(kind, blocks[done]):
                await run_block(cell, blocks[done], self.options.seed, self.is_over)
                if self.is_over():
                    break
                done += 1
                self._note(number, done, len(blocks))
                if kind in ALONE:
                    break
        except StepError as failure:
            self.tally.failures.append(str(failure)[:4_000])
            kept = cell.keep_logs(self.options.state.parent / f"{self.options.state.stem}-logs")
            self.say(f"FAILED {failure}\nlogs: {kept}")
            done += 1
        finally:
            await cell.close()
            note_end(cell)
        return done

    def _note(self, number: int, done: int, total: int) -> None:
        self.progress.blocks[str(number)] = done
        self.progress.seconds = self._before_s + time.monotonic() - self._began_s
        self.progress.save(self.options.state)
        tally = self.tally
        self.say(
            f"cell {number}: block {done}/{total}; {tally.kills.total()} kills, {tally.steps.total()} steps, "
            f"{tally.pauses.total()} pauses, {tally.refusals.total()} refusals, {tally.restarts.total()} restarts, "
            f"{tally.cases.total()} cases, {tally.upgrades.total()} upgrades; {tally.compared_keys:,} keys and "
            f"{tally.compared_answers:,} answers compared; wrong: {tally.found() or 'nothing'}; "
            f"{self.progress.seconds:.0f} s"
        )


class BuildRuns:
    """Broken builds: each runs in a cell of its own until the judge has found it.

    Args:
        options: Of the run.
        place: What the cells share.
        say: Told what was found.

    Attributes:
        found: By build, what was wrong; empty for one that was not found.
    """

    def __init__(self, options: argparse.Namespace, place: Place, say: Say) -> None:
        self.options, self.place, self.say = options, place, say
        self.found: dict[str, Mapping[str, Any]] = {}
        self._free = asyncio.Semaphore(options.cells)

    async def run(self, names: list[str]) -> None:
        """Run builds, as many at the same time as there are cells."""
        await asyncio.gather(*(self._run(number, name) for number, name in enumerate(names)))

    async def _run(self, number: int, name: str) -> None:
        async with self._free:
            build, tally = BROKEN[name], Tally()
            steps = self.options.build_steps
            blocks = make_cells(self.options.seed, 1, {build.kind: steps}, self.options.guarantee, build.points)[0]
            options = replace(
                cell_options(self.options, number, build.kind), broken=name, session_ms=2_000, standbys=False
            )
            cell = Cell(f"build-{name}", f"{self.options.seed}/{name}", self.place, options, tally)
            failure = ""
            try:
                await cell.open()
                for block in blocks:
                    await run_block(cell, block, self.options.seed, lambda: not tally.is_clean)
                    if not tally.is_clean:
                        break
            except StepError as exc:
                failure = str(exc)[:2_000]
            finally:
                await cell.close()
            self.found[name] = tally.found()
            self.say(f"{name}: {tally.found() or 'NOT FOUND'} {tally.wrong[:2]} {failure}")


def cell_options(options: argparse.Namespace, number: int, kind: Kind) -> CellOptions:
    """Choose the set-up of a cell."""
    is_production = kind == "restart" or number % PRODUCTION_EVERY == PRODUCTION_EVERY - 1
    return CellOptions(
        None if is_production else options.session_ms,
        options.guarantee,
        codec=CODECS[number % len(CODECS)],
        standbys=bool(number % 2),
    )


def note_end(cell: Cell) -> None:
    """Add up what a cell has compared."""
    tally, answers = cell.tally, cell.judge.answers
    tally.listens += cell.judge.num_listens
    tally.erasures += cell.judge.num_erasures
    tally.sessions += len(answers.starts)
    tally.answers += sum(answers.answered.values())
    tally.compared_answers += answers.compared
    tally.popular_answers += answers.of_popularity
    tally.refused_ticks += cell.load.num_refused


def _may_go_on(kind: Kind, block: Block) -> bool:
    return kind in ALONE or block[0].kind not in ALONE
