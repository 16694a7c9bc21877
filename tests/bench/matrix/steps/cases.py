"""Cases that other stream processors are known to have got wrong, each made on purpose."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from aiokafka import TopicPartition
from kafka import TopicPartition as AdminPartition
from kafka.admin import ConfigResource, ConfigResourceType

from sidestream.streams.cli.states.offline import offline_states
from sidestream.streams.contracts.topics import KAFKA_DELETE_RETENTION_MS
from sidestream.streams.operate.states.lost import skip_lost
from sidestream.streams.settings import load_settings
from tests.bench.matrix.cell import Cell
from tests.bench.matrix.options import StepError
from tests.bench.matrix.schedule import Step
from tests.bench.matrix.steps.comparing import compare
from tests.bench.matrix.steps.groups import join
from tests.bench.matrix.steps.kills import REACH_S
from tests.bench.matrix.steps.pauses import replaced, woken

# Segments this short are compacted at once; the local broker looks for work every half second.
COMPACTED_AT_ONCE = {"segment.ms": "500", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "100"}
# The judge has to see every record; and tables that were away for longer than the retention are rebuilt.
COMPACTED_LATER = {
    "segment.ms": "604800000",
    "min.cleanable.dirty.ratio": "0.99",
    "delete.retention.ms": str(KAFKA_DELETE_RETENTION_MS),
}
FILLER = b"filler"
ROUNDS = 6
SLOW_RESTORE_S = 0.5
REFUSED_EXIT = 70


async def compacted_marker(cell: Cell, step: Step) -> None:
    """Restore from changelogs that end in control records, the last ones of which compaction has removed since."""
    await compare(cell)
    changelog = cell.topics.user_state_changelog
    await _configure(cell, changelog.name, COMPACTED_AT_ONCE)
    producer = cell.clients.async_producer(transactional_id=f"{cell.prefix}filler")
    await producer.start()
    try:
        for _ in range(ROUNDS):
            await producer.begin_transaction()
            for partition in range(changelog.partitions):
                await (await producer.send(changelog.name, b"", key=FILLER, partition=partition))
            # Its marker begins a segment: that of the round before is compacted.
            await asyncio.sleep(1.0)
            await producer.abort_transaction()
    finally:
        await producer.stop()
    await _configure(cell, changelog.name, COMPACTED_LATER)
    cell.load.go()
    await join(cell, "a", "lost")
    await cell.end("a", signal.SIGKILL)
    await cell.judge_tables("a")
    await join(cell, "a", "kept")


async def source_trimmed(cell: Cell, step: Step) -> None:
    """Start with committed offsets at, or below, the first listens that retention has left."""
    await compare(cell)
    cell.load.go()
    await asyncio.sleep(2.0)
    await cell.load.stop()
    ends, committed = await cell.ends(), await cell.committed()
    is_lost = step.choice < 0.5
    cuts = {tp: committed[tp] + ((ends[tp] - committed[tp]) // 2 if is_lost else 0) for tp in cell.listens}
    await _delete(cell, cuts)
    cell.judge.lose_listens({tp.partition: cut for tp, cut in cuts.items()})
    if any(cut > committed[tp] for tp, cut in cuts.items()):
        worker = await cell.start("a")
        cell.alive.pop("a")
        code = await cell.wait_end(worker)
        if code != REFUSED_EXIT or "skip-lost" not in cell.said(worker):
            said = cell.said(worker)
            raise StepError(f"{cell.where}: expected a stop at deleted listens, got exit {code}\n{said}")
        settings, _ = load_settings(cell.flags("a"), env={})
        gaps = await skip_lost(offline_states(settings))
        if {gap.partition: gap.end for gap in gaps} != {
            tp.partition: cut for tp, cut in cuts.items() if cut > committed[tp]
        }:
            raise StepError(f"{cell.where}: expected the gaps up to {cuts}, got {gaps}")
    cell.load.go()
    await join(cell, "a", step.table)


async def assigned_while_restoring(cell: Cell, step: Step) -> None:
    """Assign partitions to a worker that is still restoring others, and take some away again."""
    await _only(cell, "b")
    await cell.joined("b")
    cell.treat("a", "lost")
    await cell.start("a", {"restore_s": SLOW_RESTORE_S})
    # It has half of the partitions by then, and restores them.
    await cell.until(lambda: _opens_tables(cell, "a"), "a restores", REACH_S + cell.options.session_s)
    await cell.end("b", signal.SIGKILL if step.choice < 0.5 else signal.SIGTERM)
    await cell.judge_tables("b")
    await asyncio.sleep(step.after_s)
    await join(cell, "b", step.table)


async def stale_position(cell: Cell, step: Step) -> None:
    """Wake a worker whose position was deleted from the log while another one owned its partitions."""
    await _only(cell, "a")
    await cell.joined("a")
    await cell.taken_over(time.monotonic())
    worker = cell.alive["a"]
    worker.send(signal.SIGSTOP)
    ends, judge = await cell.ends(), cell.judge
    await replaced(cell, worker)
    # What is not among the published counts is counted from the log.
    await cell.until(
        lambda: judge.read_counts({tp.partition: ends[tp] for tp in cell.listens}), "the heir has published counts"
    )
    await judge.fetch_log()
    await _delete(cell, {tp: judge.counts.marks[tp.partition] for tp in cell.listens})
    await woken(cell, worker)


_CASES: Mapping[str, Callable[[Cell, Step], Any]] = {
    "compacted_marker": compacted_marker,
    "source_trimmed": source_trimmed,
    "assigned_while_restoring": assigned_while_restoring,
    "stale_position": stale_position,
}


async def case(cell: Cell, step: Step) -> None:
    """Do what the step names."""
    await _CASES[step.point](cell, step)
    cell.tally.cases[step.point] += 1


async def _only(cell: Cell, name: str) -> None:
    for other in list(cell.alive):
        if other != name:
            await cell.end(other, signal.SIGTERM)
    if name not in cell.alive:
        await cell.start(name)


async def _opens_tables(cell: Cell, name: str) -> bool:
    return any(cell.databases(name).folder.rglob("CURRENT"))


async def _delete(cell: Cell, offsets: Mapping[TopicPartition, int]) -> None:
    wanted = {AdminPartition(tp.topic, tp.partition): offset for tp, offset in offsets.items() if offset > 0}
    await _admin(cell, lambda admin: admin.delete_records(wanted))


async def _admin(cell: Cell, call: Callable[[Any], Any]) -> None:
    def ask() -> None:
        with closing(cell.clients.admin()) as admin:
            call(admin)

    await asyncio.to_thread(ask)


async def _configure(cell: Cell, topic: str, values: Mapping[str, str]) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, dict(values))
    await _admin(cell, lambda admin: admin.alter_configs([resource], incremental=True))
