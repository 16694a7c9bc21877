"""The comparison that ends a block: every key, table, count, item, dead letter and answer."""

import asyncio
import signal
import time

from aiokafka import TopicPartition

from tests.bench.matrix.cell import NAMES, Cell

REBUILT = "rebuilt"
# Session-starts are answered within a deadline of 250 ms; what is open so long after the last listen is lost.
LOST_S = 30.0


async def compare(cell: Cell) -> None:
    """Let everything drain, stop all workers, and compare."""
    await cell.load.stop()
    if not cell.alive:
        await cell.start("a")
    await _drain(cell)
    await _await_answers(cell)
    for name in list(cell.alive):
        worker = cell.alive[name]
        if await cell.end(name, signal.SIGTERM) != 0:
            cell.note_self_ended(worker)
    await _judge(cell)
    await _rebuild(cell)
    rebuilt = await cell.judge_tables(REBUILT)
    behind = sorted(set(range(cell.topics.listens.partitions)) - rebuilt)
    cell.tally.note_wrong(cell.where, [f"the rebuilt database is behind in partition {p}" for p in behind])
    cell.count_replays()
    cell.tally.checks += 1


async def _drain(cell: Cell) -> None:
    """Wait until all listens are folded and counted, all erasures applied, and the catalogue is as it must be."""
    ends, judge = await cell.ends(), cell.judge

    async def is_drained() -> bool:
        return ends.items() <= (await cell.committed()).items()

    async def is_counted() -> bool:
        return await judge.read_counts({tp.partition: end for tp, end in ends.items() if tp in cell.listens})

    async def is_added_up() -> bool:
        committed = await cell.committed()
        changed_to = await judge.read_changes()
        changes = cell.topics.item_count_changes.name
        return all(committed[TopicPartition(changes, partition)] >= end for partition, end in changed_to.items())

    async def is_tokenized() -> bool:
        return await judge.read_catalogue() == wanted

    def untokenized() -> list[str]:
        return sorted(set(judge.catalogues.item_ids()) ^ set(wanted))

    await cell.until(is_drained, "all listens are folded and all erasures applied")
    await cell.until(is_counted, "all listens are among the published counts")
    await cell.until(is_added_up, "all counts are added up")
    wanted = await judge.read_wanted_items()
    await cell.until(is_tokenized, "the catalogue has all items, and none that was removed", missing=untokenized)


async def _judge(cell: Cell) -> None:
    """Compare what workers left behind, once all of them have ended."""
    tally, judge = cell.tally, cell.judge
    may_repeat = cell.options.guarantee == "at_least_once"
    await judge.read_changelog(whole=True)
    await judge.read_log()
    await judge.read_totals()
    tally.note_counts(cell.where, *judge.counts.wrong(may_repeat))
    tally.compared_keys += len(judge.expected())
    tally.note_wrong(cell.where, judge.wrong_in_changelog())
    await judge.read_catalogue()
    await judge.read_answers()
    tally.note_answers(cell.where, judge.wrong_answers())
    current = set()
    for name in NAMES:
        current |= await cell.judge_tables(name)
    behind = sorted(set(range(cell.topics.listens.partitions)) - current)
    tally.note_wrong(cell.where, [f"no worker's database holds all of partition {p}" for p in behind])
    wrong_letters = judge.wrong_dead_letters(may_repeat)
    tally.wrong_dead_letters += wrong_letters - cell.known_wrong_letters
    cell.known_wrong_letters = wrong_letters


async def _await_answers(cell: Cell) -> None:
    until_s = time.monotonic() + LOST_S
    started = await cell.judge.read_starts()
    while missing := set(started) - set(await cell.judge.read_answers()):
        if time.monotonic() > until_s:
            new = missing - cell.known_lost
            cell.tally.note_lost(cell.where, sorted(new))
            cell.known_lost |= new
            return
        await cell.supervise()
        await asyncio.sleep(0.2)


async def _rebuild(cell: Cell) -> None:
    """Have a worker make its databases from nothing but the changelog."""
    cell.treat(REBUILT, "lost")
    await cell.start(REBUILT)

    async def has_all() -> bool:
        # One that ended without leaving the group keeps its partitions until its session is over.
        made = {path.stem for path in cell.databases(REBUILT).folder.rglob("*.db")}
        return len(made) == cell.topics.listens.partitions and await cell.is_ready(REBUILT)

    await cell.until(has_all, "all databases are rebuilt")
    await cell.end(REBUILT, signal.SIGTERM)
