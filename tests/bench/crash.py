"""Kills, joins, pauses, restarts and upgrades on a real Kafka, and everything that workers leave compared after.

Every key is compared with the pure fold of the log, every answer with the pure recommender, the live counts of items
with those of the log. Meanwhile users are erased, items come and go, one user has 30 % of the listens, and producers
compress. Workers are killed and paused at seeded points, join, leave and are replaced; Kafka refuses requests; on three
brokers, brokers are restarted and leaders move; workers of the release before are replaced one by one.

Several cells, each with topics, group and workers of its own, live on one Kafka at the same time: most of a step is
waiting for a session to time out. What happens is made of seed, cell and step alone; how many listens flow meanwhile
depends on the machine. An interrupted run goes on with `--resume FILE`, on new topics, with the blocks not yet done.

With `--builds`, workers are broken on purpose, in one promise each, and the judge has to find each of them. `--broken`
runs one of these builds. A wrong result fails a run of any size; what takes how long is judged without `--smoke` alone.
"""

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path

from tests.bench.matrix.builds import BROKEN
from tests.bench.matrix.cell import Place
from tests.bench.matrix.forks import Forks
from tests.bench.matrix.releases import RELEASE_BEFORE, export
from tests.bench.matrix.run import BuildRuns, Run
from tests.bench.matrix.schedule import MOVE_LEADERS
from tests.bench.matrix.tally import Progress, Tally
from tests.bench.support.harness import Bench, Check, at_least, at_most, option_parser, told
from tests.bench.support.rig import ROOT, Rig, open_rig
from tests.integration.rigs.three_brokers import ThreeBrokers

# Of the whole run, and of the smallest one.
SIZES = {
    "kills": (200, 24),
    "steps": (60, 6),
    "pauses": (40, 4),
    "refusals": (32, 4),
    "cases": (8, 4),
    "upgrades": (4, 1),
    "restarts": (40, 2),
    "build_steps": (24, 12),
}
# One in four moves leaders instead of a restart.
RESTARTS_SHARE = 0.75
SCHEDULE_OPTIONS = ("seed", "cells", *SIZES, "guarantee", "session_ms", "before", "builds")
# What a worker takes beyond its session to be gone, and its partitions to be restored elsewhere.
FAILOVER_KILL_S = 3.0
FAILOVER_TERM_S = 5.0
RESULT = ROOT / "tests" / "bench" / "results" / "crash.json"
HELP = {
    "kills": "SIGKILLs of the only worker",
    "steps": "steps of two workers: join, leave, SIGKILL, SIGTERM",
    "pauses": "pauses past the session",
    "refusals": "requests that Kafka refuses",
    "cases": "cases that other stream processors got wrong",
    "upgrades": "rolling upgrades from the release before",
    "restarts": "restarts of one of three brokers, or moves of all leaders",
    "build_steps": "steps in which a broken build must be found",
}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    for name, text in HELP.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=None, help=text)
    parser.add_argument("--cells", type=int, default=5, help="installations at the same time")
    parser.add_argument("--guarantee", choices=("exactly_once", "at_least_once"), default="exactly_once")
    parser.add_argument("--session-ms", type=int, default=2_000, help="session timeout of most workers")
    parser.add_argument("--before", default=RELEASE_BEFORE, metavar="COMMIT", help="the release that is upgraded from")
    builds = parser.add_mutually_exclusive_group()
    builds.add_argument("--broken", choices=sorted(BROKEN), default=None, help="only this broken build")
    builds.add_argument("--builds", choices=("no", "too", "only"), default=None, help="broken builds (default: too)")
    parser.add_argument("--resume", type=Path, default=None, help="state file of an interrupted run")
    parser.add_argument("--state", type=Path, default=None, help="state file of this run")
    options = parser.parse_args(arguments)
    for name, (full, smoke) in SIZES.items():
        if getattr(options, name) is None:
            setattr(options, name, smoke if options.smoke else full)
    if options.broken is not None:
        options.builds = "only"
    options.builds = options.builds or ("no" if options.smoke else "too")
    if options.result is None and not options.smoke and options.builds != "only":
        options.result = RESULT
    options.state = options.resume or options.state or ROOT / "var" / f"crash-{options.seed}.json"
    return options


async def run(bench: Bench, rig: Rig, progress: Progress) -> BuildRuns | None:
    """Run all cells, then the broken builds; returns what became of those."""
    options = bench.options
    async with contextlib.AsyncExitStack() as stack:
        forks = await _opened(stack, Forks(), rig)
        before: Forks | None = None
        if options.upgrades and options.builds != "only":
            before = await _opened(stack, Forks(export(options.before, rig.folder / "before")), rig)
        place = Place(rig, forks, before)
        if options.builds != "only":
            three: Place | None = None
            if options.restarts:
                brokers = await asyncio.to_thread(ThreeBrokers, rig.folder / "three")
                stack.push_async_callback(asyncio.to_thread, brokers.stop)
                (rig.folder / "cells").mkdir()
                three = Place(Rig(brokers.broker, rig.folder / "cells"), forks, None, brokers)
            await Run(options, place, three, progress, bench.say).run()
        if options.builds == "no":
            return None
        builds = BuildRuns(options, place, bench.say)
        await builds.run(sorted(BROKEN) if options.broken is None else [options.broken])
        return builds


async def _opened(stack: contextlib.AsyncExitStack, forks: Forks, rig: Rig) -> Forks:
    await forks.open(rig.folder / "forks.log")
    stack.push_async_callback(forks.close)
    return forks


def judge(options: argparse.Namespace, tally: Tally, builds: BuildRuns | None) -> list[Check]:
    """Hold what was seen to its limits."""
    checks = [] if options.builds == "only" else _judge_run(options, tally)
    if builds is not None:
        checks.append(at_least("builds_found", sum(map(bool, builds.found.values())), len(builds.found)))
    return checks


def _judge_run(options: argparse.Namespace, tally: Tally) -> list[Check]:
    # With idempotent folds a replay is no fault: that is what at least once means.
    replayed = at_most if options.guarantee == "exactly_once" else lambda name, value, _: told(name, value)
    # What is a matter of time is judged where nothing else runs.
    timed = (lambda name, value, _: told(name, value)) if options.smoke else at_most
    broker_restarts = tally.restarts.total() - tally.restarts[MOVE_LEADERS]
    return [
        at_least("kills", tally.kills.total() + tally.steps["SIGKILL"], options.kills),
        at_least("steps", tally.steps.total(), options.steps),
        at_least("pauses", tally.pauses.total(), options.pauses),
        at_least("refusals", tally.refusals.total(), options.refusals),
        at_least("cases", tally.cases.total(), options.cases),
        at_least("upgrades", tally.upgrades.total(), options.upgrades),
        at_least("broker_restarts", broker_restarts, int(RESTARTS_SHARE * options.restarts)),
        at_most("wrong_keys", tally.wrong_keys, 0),
        at_most("wrong_counts", tally.wrong_counts, 0),
        at_most("wrong_answers", tally.wrong_answers, 0),
        replayed("replayed", tally.replayed, 0),
        at_most("lost_sessions", tally.lost_sessions, 0),
        at_most("wrong_dead_letters", tally.wrong_dead_letters, 0),
        at_most("restart_exits", tally.restart_exits, 0),
        at_most("refusal_exits", tally.refusal_exits, 0),
        at_most("failures", len(tally.failures), 0),
        timed("failover_kill_beyond_session_s", max(tally.failover_kill_s, default=None), FAILOVER_KILL_S),
        timed("failover_term_s", max(tally.failover_term_s, default=None), FAILOVER_TERM_S),
        told("pause_settled_s", max(tally.pause_settled_s, default=None)),
        told("restart_settled_s", max(tally.restart_settled_s, default=None)),
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
    return "python -m tests.bench.crash " + " ".join(said)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    progress = begin(options)
    bench = Bench("crash", options)
    bench.say(f"{command(options)} (state: {options.state.name})")
    with open_rig(options.bootstrap) as rig:
        builds = asyncio.run(run(bench, rig, progress))
    bench.results = {
        "command": command(options),
        "seconds": round(progress.seconds, 1),
        **progress.tally.results(),
        **({} if builds is None else {"builds": builds.found}),
    }
    bench.checks = judge(options, progress.tally, builds)
    bench.finish()
    return 0 if all(check.ok for check in bench.checks) else 1


if __name__ == "__main__":
    sys.exit(main())
