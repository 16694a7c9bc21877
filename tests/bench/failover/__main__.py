"""Three workers over many users: how long users wait after a SIGKILL, and what they notice of a rolling restart.

The changelog is filled with states and blocks of real encodings, as if the listens of all users had been folded. Then
one worker of three is killed, once with standbys that are current and once without, and users of its partitions are
asked for until each has an answer that knows of a listen published after the kill. At last the workers are restarted
in turn, as static members of their group and as dynamic ones with standbys, while session-starts come in evenly. As in
a rolling update of Kubernetes, the next restart waits until all workers are ready, for the standbys, and for a gap
(`minReadySeconds`). The share of answers is judged for dynamic members with standbys, which is what the deployment
pages recommend: with static members, nobody answers for a worker until it is back.

The share of session-starts that are answered in time depends on the gap between two restarts; `slow_s_per_restart`,
the seconds of a restart during which a user would wait for more than a second, does not.
"""

import argparse
import random
import sys
import threading
import time
from typing import Any

from sidestream.streams.kafka.settings import KafkaSettings
from tests.bench.failover.freshness import Freshness
from tests.bench.failover.group import SLOW_S, Group, Pause, Restart, find_pauses
from tests.bench.fleet.installation import Installation
from tests.bench.fleet.states import CHUNK, make_states
from tests.bench.support.harness import Bench, at_least, at_most, option_parser, percentile, told
from tests.bench.support.open_loop import Load, OpenLoop
from tests.bench.support.rig import Rig, open_rig, partition_of, wait_until

WORKERS = 3
ITEMS = 100
# What a standby may take beyond the session timeout, in seconds.
TAKEOVER_S = 2.0
ANSWERED_SHARE = 0.99
STANDBYS = "every partition has a standby that lacks nothing"
PHASES = ("standby", "cold", "static", "dynamic")


def fill(bench: Bench, installation: Installation) -> None:
    """Publish the states of all users to the changelog."""
    options, spec = bench.options, installation.topics.user_state_changelog
    began_s = time.monotonic()
    for first in range(0, options.users, CHUNK):
        chunk = range(first, min(first + CHUNK, options.users))
        installation.rig.publish(spec.name, make_states(chunk, spec.partitions, options.blocks))
    bench.say(f"{options.users:,} users with {options.blocks} blocks in {time.monotonic() - began_s:.0f} s")


def moved_users(options: argparse.Namespace, owned: list[int]) -> list[str]:
    """Choose users of these partitions."""
    rng, found = random.Random(options.seed), set[str]()
    while len(found) < min(options.sampled, options.users // (2 * WORKERS)):
        user = f"user-{rng.randrange(options.users)}"
        if partition_of(user.encode(), options.partitions) in owned:
            found.add(user)
    return sorted(found)


def measure_kill(bench: Bench, installation: Installation, phase: str) -> dict[str, Any]:
    """Kill one worker of three; returns what its users waited."""
    options, has_standbys = bench.options, phase == "standby"
    group = Group(installation, phase, WORKERS, {"lane.standby_replicas": int(has_standbys)})
    try:
        began_s = time.monotonic()
        group.start(options.patience_s)
        if has_standbys:
            wait_until(group.has_standbys, options.patience_s, STANDBYS)
        started_s = time.monotonic() - began_s
        bench.say(f"{phase}: {WORKERS} workers are ready after {started_s:.0f} s")
        victim = group.workers[0]
        owned = group.owned(victim)
        users = moved_users(options, owned)
        waits, outdated = Freshness(installation.rig.clients, installation.topics, users).measure(
            victim.kill, options.patience_s
        )
    finally:
        group.close()
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        "started_s": round(started_s, 1),
        "moved_partitions": len(owned),
        "users": len(users),
        "unanswered": sum(wait >= options.patience_s for wait in waits),
        "outdated_answers": outdated,
        "fresh_s": {name: round(percentile(waits, share) or 0.0, 2) for name, share in shares.items()},
    }


def measure_rolling(bench: Bench, installation: Installation, phase: str) -> dict[str, Any]:
    """Restart the workers in turn; returns what session-starts saw meanwhile."""
    options = bench.options
    is_static = phase == "static"
    group = Group(installation, phase, WORKERS, {"lane.standby_replicas": int(not is_static)}, is_static)
    restarts: list[Restart] = []
    try:
        group.start(options.patience_s)
        if not is_static:
            wait_until(group.has_standbys, options.patience_s, STANDBYS)
        bench.say(f"{phase}: {WORKERS} workers are ready")
        thread = threading.Thread(
            target=lambda: restarts.extend(group.restart_in_turn(options.gap_s, options.patience_s, not is_static))
        )
        starts, candidates = installation.topics.session_starts.name, installation.topics.candidates.name
        loop = OpenLoop(installation.rig.clients, starts, candidates, options.partitions, options.users, options.per_s)
        thread.start()
        load = loop.run(phase, lambda: True, lambda _: not thread.is_alive(), 30.0)
        given_up_s = time.monotonic()
        thread.join()
    finally:
        group.close()
    if len(restarts) < WORKERS:
        raise RuntimeError(f"{phase}: only {len(restarts)} of {WORKERS} workers came back")
    return rolling_result(load, restarts, options.partitions, given_up_s)


def rolling_result(load: Load, restarts: list[Restart], partitions: int, give_up_s: float) -> dict[str, Any]:
    """Put what was seen of a rolling restart in figures."""
    slow = sum(ms > SLOW_S * 1e3 for ms in load.latencies_ms(0.0, float("inf"), give_up_s))
    pauses = find_pauses(load, partitions, give_up_s)
    seconds = max(load.scheduled.values()) - min(load.scheduled.values())
    return {
        "sessions": len(load.scheduled),
        "lost": load.unanswered,
        "answered_share": round(1 - slow / len(load.scheduled), 4),
        "slow_s_per_restart": round(slow / len(load.scheduled) * seconds / len(restarts), 2),
        "seconds": round(seconds, 1),
        "restarts": [_describe(restart, pauses) for restart in restarts],
        "pauses": len(pauses),
        "longest_pause_s": round(max((pause.seconds for pause in pauses), default=0.0), 2),
    }


def _describe(restart: Restart, pauses: list[Pause]) -> dict[str, Any]:
    mine = [pause for pause in pauses if restart.began_s - SLOW_S <= pause.began_s <= restart.ready_s]
    return {
        "worker": restart.worker,
        "code": restart.code,
        "stop_s": round(restart.ended_s - restart.began_s, 2),
        "ready_s": round(restart.ready_s - restart.ended_s, 2),
        "pauses": len(mine),
        "longest_pause_s": round(max((pause.seconds for pause in mine), default=0.0), 2),
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.set_defaults(partitions=16)
    parser.add_argument("--users", type=int, default=None, help="in the changelog")
    parser.add_argument("--blocks", type=int, default=2, help="of the long history of each user")
    parser.add_argument("--sampled", type=int, default=200, help="users of the killed worker that ask")
    parser.add_argument("--per-s", type=float, default=20.0, help="session-starts a second during rolling restarts")
    parser.add_argument("--gap-s", type=float, default=None, help="from ready workers and standbys to the next restart")
    parser.add_argument("--session-ms", type=int, default=None, help="session timeout; none: the default")
    parser.add_argument("--phases", default=",".join(PHASES), help="which parts, of " + ", ".join(PHASES))
    options = parser.parse_args(arguments)
    options.users = options.users or (2_000 if options.smoke else 1_000_000)
    options.gap_s = options.gap_s or (2.0 if options.smoke else 30.0)
    options.session_ms = options.session_ms or KafkaSettings().session_timeout_ms
    options.patience_s = 120.0 if options.smoke else 900.0
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("failover", options)
    phases = options.phases.split(",")
    with open_rig(options.bootstrap) as rig:
        _run(bench, rig, phases)
    results, session_s = bench.results, options.session_ms / 1e3
    fresh = {phase: results[phase]["fresh_s"]["p99"] for phase in phases if "fresh_s" in results[phase]}
    rolling = {phase: results[phase] for phase in phases if "restarts" in results[phase]}
    static, dynamic = rolling.get("static", {}), rolling.get("dynamic", {})
    bench.checks = [
        at_most("failover_standby_s", fresh.get("standby"), session_s + TAKEOVER_S),
        told("failover_cold_s", fresh.get("cold")),
        at_most("unanswered_users", sum(results[phase]["unanswered"] for phase in fresh), 0),
        at_least("rolling_answered", dynamic.get("answered_share"), ANSWERED_SHARE),
        told("rolling_answered_static", static.get("answered_share")),
        told("slow_s_per_restart", dynamic.get("slow_s_per_restart")),
        told("slow_s_per_restart_static", static.get("slow_s_per_restart")),
        told("pauses_per_restart", _per_restart(dynamic)),
        told("pauses_per_restart_static", _per_restart(static)),
        at_most("lost_sessions", sum(one["lost"] for one in rolling.values()), 0),
        at_most("bad_exits", sum(r["code"] != 0 for one in rolling.values() for r in one["restarts"]), 0),
    ]
    return bench.finish("unanswered_users", "lost_sessions", "bad_exits")


def _per_restart(rolling: dict[str, Any]) -> float | None:
    return rolling["pauses"] / len(rolling["restarts"]) if rolling else None


def _run(bench: Bench, rig: Rig, phases: list[str]) -> None:
    options = bench.options
    flags = {"kafka.session_timeout_ms": options.session_ms}
    installation = Installation(rig, options.partitions, ITEMS, flags=flags)
    fill(bench, installation)
    for phase in phases:
        measure = measure_kill if phase in ("standby", "cold") else measure_rolling
        bench.results[phase] = measure(bench, installation, phase)
        bench.say(f"{phase}: {bench.results[phase]}")


if __name__ == "__main__":
    sys.exit(main())
