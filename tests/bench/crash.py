"""Kills, joins, leaves and pauses of whole workers on a real Kafka, and every key compared with the pure fold after.

Users are erased meanwhile, which the fold knows, and the live counts of items are compared with those of the log.

Several cells, each with topics, group and workers of its own, live on one Kafka at the same time: most of a step is
waiting for a session to time out. What happens is made of seed, cell and step alone; how many listens flow meanwhile
depends on the machine. An interrupted run goes on with `--resume FILE`, on new topics, with the blocks not yet done.

With `--broken NAME` the workers are broken on purpose, and the run has to find it.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from tests.bench.matrix.broken import BROKEN
from tests.bench.matrix.cell import Cell, CellOptions, StepError
from tests.bench.matrix.forks import Forks
from tests.bench.matrix.schedule import Block, Kind, make_cells
from tests.bench.matrix.steps import run_block
from tests.bench.matrix.tally import Progress, Tally
from tests.bench.support.harness import Bench, Check, at_least, at_most, option_parser, told
from tests.bench.support.rig import ROOT, Rig, open_rig

SIZES = {"kills": (200, 24), "steps": (60, 6), "pauses": (40, 4)}
SCHEDULE_OPTIONS = ("seed", "cells", "kills", "steps", "pauses", "guarantee", "broken", "session_ms")
# What a worker takes beyond its session to be gone, and its partitions to be restored elsewhere.
FAILOVER_KILL_S = 3.0
FAILOVER_TERM_S = 5.0
MAX_FAILURES = 3
RESULT = ROOT / "tests" / "bench" / "results" / "crash.json"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--kills", type=int, default=None, help="SIGKILLs of the only worker")
    parser.add_argument("--steps", type=int, default=None, help="steps of two workers: join, leave, SIGKILL, SIGTERM")
    parser.add_argument("--pauses", type=int, default=None, help="pauses past the session")
    parser.add_argument("--cells", type=int, default=5, help="installations at the same time")
    parser.add_argument("--guarantee", choices=("exactly_once", "at_least_once"), default="exactly_once")
    parser.add_argument("--session-ms", type=int, default=2_000, help="session timeout of the workers")
    parser.add_argument("--broken", choices=sorted(BROKEN), default=None, help="a build that must be found out")
    parser.add_argument("--resume", type=Path, default=None, help="state file of an interrupted run")
    parser.add_argument("--state", type=Path, default=None, help="state file of this run")
    options = parser.parse_args(arguments)
    for name, (full, smoke) in SIZES.items():
        if getattr(options, name) is None:
            setattr(options, name, smoke if options.smoke else full)
    if options.result is None and not options.smoke and options.broken is None:
        options.result = RESULT
    options.state = options.resume or options.state or ROOT / "var" / f"crash-{options.seed}.json"
    return options


def schedule_of(options: argparse.Namespace) -> list[list[Block]]:
    """Make the schedule of all cells; for a broken build, what brings it to light."""
    counts: dict[Kind, int] = {"kill": options.kills, "group": options.steps, "pause": options.pauses}
    points: tuple[str, ...] = ()
    if options.broken is not None:
        build = BROKEN[options.broken]
        points = build.points
        counts = {"pause": options.pauses} if build.pauses else {"kill": options.kills}
    return make_cells(options.seed, options.cells, counts, options.guarantee, points)


class Run:
    """All cells of one run.

    Args:
        bench: Its options and its result.
        rig: The broker.
        progress: What was done before, and is done now.
    """

    def __init__(self, bench: Bench, rig: Rig, progress: Progress) -> None:
        self.bench, self.rig, self.progress = bench, rig, progress
        self.options = bench.options
        self.tally: Tally = progress.tally
        self.forks = Forks()
        self.schedule = schedule_of(self.options)
        self._before_s, self._began_s = progress.seconds, time.monotonic()

    async def run(self) -> None:
        """Run all cells to their end, or a broken build until it is found out."""
        await self.forks.open(self.rig.folder / "forks.log")
        try:
            await asyncio.gather(*(self._cell(number) for number in range(self.options.cells)))
        finally:
            await self.forks.close()

    @property
    def is_over(self) -> bool:
        """Whether going on would tell nothing new."""
        if self.options.broken is not None and not self.tally.is_clean:
            return True
        return len(self.tally.failures) >= MAX_FAILURES

    async def _cell(self, number: int) -> None:
        blocks, lives = self.schedule[number], 0
        done = self.progress.blocks.get(str(number), 0)
        while done < len(blocks) and not self.is_over:
            lives += 1
            done = await self._live(number, f"cell-{number}-{lives}", blocks, done)

    async def _live(self, number: int, name: str, blocks: list[Block], done: int) -> int:
        """Let one cell live until its schedule ends or a step fails; returns how many blocks are done."""
        options = self.options
        settings = CellOptions(options.session_ms, options.guarantee, broken=options.broken)
        cell = Cell(name, f"{options.seed}/{number}/{done}", self.rig, self.forks, settings, self.tally)
        try:
            await cell.open()
            while done < len(blocks) and not self.is_over:
                await run_block(cell, blocks[done], options.seed, lambda: self.is_over)
                if self.is_over:
                    break
                done += 1
                self._note(number, done, len(blocks))
        except StepError as failure:
            self.tally.failures.append(str(failure)[:4_000])
            self.bench.say(f"FAILED {failure}")
            done += 1
        finally:
            await cell.close()
            self.tally.listens += cell.judge.num_listens
            self.tally.erasures += cell.judge.num_erasures
            self.tally.sessions += len(cell.load.sessions)
            self.tally.answers += cell.judge.answers.total()
        return done

    def _note(self, number: int, done: int, total: int) -> None:
        self.progress.blocks[str(number)] = done
        self.progress.seconds = self._before_s + time.monotonic() - self._began_s
        self.progress.save(self.options.state)
        tally = self.tally
        self.bench.say(
            f"cell {number}: block {done}/{total}; {tally.kills.total()} kills, {tally.steps.total()} steps, "
            f"{tally.pauses.total()} pauses, {tally.compared_keys:,} keys compared, {tally.wrong_keys} wrong, "
            f"{tally.wrong_counts} counts wrong, "
            f"{tally.replayed} replayed, {tally.lost_sessions} sessions lost, {self.progress.seconds:.0f} s"
        )


def judge(options: argparse.Namespace, tally: Tally) -> list[Check]:
    """Hold what was seen to its limits."""
    if options.broken is not None:
        return [
            at_least("found_out", tally.num_wrong, 1),
            told("wrong_keys", tally.wrong_keys),
            told("wrong_counts", tally.wrong_counts),
            told("replayed", tally.replayed),
            told("lost_sessions", tally.lost_sessions),
        ]
    # With idempotent folds a replay is no fault: that is what at least once means.
    replayed = at_most if options.guarantee == "exactly_once" else lambda name, value, _: told(name, value)
    failover_s = options.session_ms / 1e3 + FAILOVER_KILL_S
    return [
        at_least("kills", tally.kills.total() + tally.steps["SIGKILL"], options.kills),
        at_least("steps", tally.steps.total(), options.steps),
        at_least("pauses", tally.pauses.total(), options.pauses),
        at_most("wrong_keys", tally.wrong_keys, 0),
        at_most("wrong_counts", tally.wrong_counts, 0),
        replayed("replayed", tally.replayed, 0),
        at_most("lost_sessions", tally.lost_sessions, 0),
        at_most("wrong_dead_letters", tally.wrong_dead_letters, 0),
        at_most("failures", len(tally.failures), 0),
        at_most("failover_kill_s", max(tally.failover_kill_s, default=None), failover_s),
        at_most("failover_term_s", max(tally.failover_term_s, default=None), FAILOVER_TERM_S),
        told("pause_settled_s", max(tally.pause_settled_s, default=None)),
    ]


def begin(options: argparse.Namespace) -> Progress:
    """Begin anew, or take up an interrupted run, whose schedule is then this run's.

    Raises:
        SystemExit: The state file was made by other options.
    """
    if options.resume is None:
        return Progress({name: getattr(options, name) for name in SCHEDULE_OPTIONS})
    progress = Progress.load(options.resume)
    for name, value in progress.options.items():
        setattr(options, name, value)
    return progress


def command(options: argparse.Namespace) -> str:
    """Say how to have the same schedule again."""
    said = [f"--{name.replace('_', '-')} {getattr(options, name)}" for name in SCHEDULE_OPTIONS]
    return "python -m tests.bench.crash " + " ".join(text for text in said if not text.endswith(" None"))


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    progress = begin(options)
    bench = Bench("crash", options)
    bench.say(f"{command(options)} (state: {options.state.name})")
    with open_rig(options.bootstrap) as rig:
        asyncio.run(Run(bench, rig, progress).run())
    bench.results = {
        "command": command(options),
        "seconds": round(progress.seconds, 1),
        **progress.tally.results(),
    }
    bench.checks = judge(options, progress.tally)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
