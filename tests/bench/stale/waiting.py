"""Session-starts that waited for an hour while no worker ran, and fresh ones as soon as one is ready."""

import argparse
import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidestream.streams.sessions.settings import SessionSettings
from tests.bench.fleet.installation import Installation
from tests.bench.matrix.judging.tables import Tail
from tests.bench.support.harness import percentile
from tests.bench.support.open_loop import OpenLoop, read_answer, session_start
from tests.bench.support.rig import Log, Rig, partition_of, wait_until

MAX_AGE_MS = SessionSettings().max_age_ms
ITEMS, USERS = 100, 1_000
READY_TIMEOUT_S = 180.0
FRESH = "fresh"


@dataclass(frozen=True)
class Waiting:
    """Session-starts at an even rate until now.

    Attributes:
        log: Keys and values by partition.
        stamps: Their Kafka timestamps, in the same order.
    """

    log: Log
    stamps: list[list[int]]

    def named(self, from_ms: int, to_ms: int) -> set[str]:
        """Name those with a timestamp from the first to before the second."""
        return {
            read_start(value)
            for records, stamps in zip(self.log, self.stamps, strict=True)
            for (_, value), stamp in zip(records, stamps, strict=True)
            if from_ms <= stamp < to_ms
        }


def read_start(value: bytes) -> str:
    """Read the session id of a session-start."""
    return read_answer(value).session_id


def make_waiting(count: int, hours: float, partitions: int, until_ms: int) -> Waiting:
    """Make up session-starts that were published at an even rate during hours until then."""
    log: Log = [[] for _ in range(partitions)]
    stamps: list[list[int]] = [[] for _ in range(partitions)]
    span_ms = hours * 3_600_000
    for number in range(count):
        user = f"user-{number % USERS}"
        partition = partition_of(user.encode(), partitions)
        log[partition].append((user.encode(), session_start(f"waiting-{number}", user)))
        stamps[partition].append(round(until_ms - span_ms + span_ms * number / count))
    return Waiting(log, stamps)


def measure_waiting(rig: Rig, options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Let session-starts wait, start a worker, and ask it as soon as it is ready."""
    installation = Installation(rig, options.partitions, ITEMS)
    worker, topics = installation.worker(), installation.topics
    # A group that has never committed begins at the end.
    worker.start()
    wait_until(worker.is_ready, READY_TIMEOUT_S, "the worker is ready")
    worker.stop()
    until_ms = _now_ms() - round(options.silent_s * 1e3)
    waiting = make_waiting(options.waiting, options.hours, options.partitions, until_ms)
    rig.publish(topics.session_starts.name, waiting.log, waiting.stamps)
    say(f"{options.waiting:,} session-starts wait")
    started_ms, started_s = _now_ms(), time.monotonic()
    worker.start()
    loop = OpenLoop(
        rig.clients, topics.session_starts.name, topics.candidates.name, options.partitions, USERS, options.per_s
    )
    load = loop.run(FRESH, worker.is_ready, lambda spent_s: spent_s >= options.seconds, READY_TIMEOUT_S)
    ended_ms = _now_ms()
    skipped = worker.metric('sidestream_sessions_skipped_total{reason="stale"}')
    code = worker.stop()
    records = asyncio.run(Tail(rig.clients, topics.candidates.name, options.partitions).read())
    answered = {read_answer(record.value).session_id for record in records}
    # Between the two are those that became too old while the worker came to them.
    stale = waiting.named(0, started_ms - MAX_AGE_MS)
    due = waiting.named(ended_ms - MAX_AGE_MS, ended_ms)
    give_up_s = max(*load.answered.values(), *load.scheduled.values())
    latencies = load.latencies_ms(0.0, float("inf"), give_up_s)
    first = next(iter(load.scheduled))
    return {
        "ready_s": round(load.scheduled[first] - started_s, 2),
        "first_s": round(load.answered.get(first, give_up_s) - load.scheduled[first], 3),
        "fresh": len(load.scheduled),
        "fresh_p99_ms": round(percentile(latencies, 0.99) or 0.0, 1),
        "lost": load.unanswered + len(due - answered),
        "stale": len(stale),
        "skipped": skipped,
        "stale_answered": len(stale & answered),
        "waiting_answered": sum(session.startswith("waiting-") for session in answered),
        "code": code,
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
