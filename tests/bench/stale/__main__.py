"""A worker that starts behind: are fresh session-starts kept waiting by old ones, or by listens that are not counted?

First, session-starts of a whole hour wait while no worker runs. A worker starts, and from the moment when it says that
it is ready, fresh ones come in: the first must be answered soon, all of them must be answered, and none that is older
than `session.max_age_ms` may be. Of those that wait, the last minute's are answered, too; `--silent-s 60` has none.

Then a worker is stopped, and in the next round killed, with many listens that it has counted and not published, and
must be ready again as soon as a worker that does not count.
"""

import argparse
import sys

from tests.bench.stale.recount import COUNTING, PLAIN, measure_recount
from tests.bench.stale.waiting import measure_waiting
from tests.bench.support.harness import Bench, at_least, at_most, option_parser, told
from tests.bench.support.rig import open_rig

FIRST_S = 2.0
RECOUNT_S = 1.0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--waiting", type=int, default=None, help="session-starts that wait")
    parser.add_argument("--hours", type=float, default=1.0, help="during which they were published")
    parser.add_argument("--silent-s", type=float, default=0.0, help="since the last of them was published")
    parser.add_argument("--per-s", type=float, default=20.0, help="fresh session-starts a second")
    parser.add_argument("--seconds", type=float, default=None, help="during which fresh ones come in")
    parser.add_argument("--listens", type=int, default=None, help="counted and not published at the stop")
    parser.add_argument("--users", type=int, default=None, help="who listen")
    options = parser.parse_args(arguments)
    small = options.smoke
    options.rounds = options.rounds or (1 if small else 5)
    options.waiting = options.waiting or (3_600 if small else 360_000)
    options.seconds = options.seconds or (3.0 if small else 20.0)
    options.listens = options.listens or (10_000 if small else 400_000)
    options.users = options.users or (200 if small else 10_000)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("stale", options)
    with open_rig(options.bootstrap) as rig:
        waiting = bench.results["waiting"] = measure_waiting(rig, options, bench.say)
        bench.say(str(waiting))
        recount = bench.results["recount"] = measure_recount(rig, options, bench.say)
    codes = [waiting["code"], *(run["code"] for name in (*COUNTING, *PLAIN) for run in recount[name])]
    bench.checks = [
        at_most("stale_first_s", waiting["first_s"], FIRST_S),
        at_most("stale_answered", waiting["stale_answered"], 0),
        at_most("stale_uncounted", max(0.0, waiting["stale"] - waiting["skipped"]), 0),
        at_most("lost_sessions", waiting["lost"], 0),
        at_most("bad_exits", sum(code != 0 for code in codes), 0),
        at_most("recount_s", recount["recount_s"], RECOUNT_S),
        at_most("recount_killed_s", recount["recount_killed_s"], RECOUNT_S),
        at_least("recounted", recount["recounted"], 1),
        told("stop_later_s", recount["stop_later_s"]),
        told("fresh_p99_ms", waiting["fresh_p99_ms"]),
        told("waiting_answered", waiting["waiting_answered"]),
    ]
    return bench.finish("stale_answered", "stale_uncounted", "lost_sessions", "bad_exits", "recounted")


if __name__ == "__main__":
    sys.exit(main())
