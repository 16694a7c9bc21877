"""What the steps of a schedule do to a cell, and the comparison that ends a block."""

import asyncio
import signal
import time
from collections.abc import Callable

from aiokafka import TopicPartition

from tests.bench.matrix.cell import PATIENCE_S, Cell, StepError
from tests.bench.matrix.faults import REVOKE_POINTS
from tests.bench.matrix.forks import Worker
from tests.bench.matrix.schedule import RANDOM, Block, Step

# A fault that is not reached in this time gives way to a signal from outside.
REACH_S = 20.0
NAMES = ("a", "b")
REBUILT = "rebuilt"
# Session-starts are answered within a deadline of 250 ms; what is open so long after the last listen is lost.
LOST_S = 30.0
FENCED_EXIT = 70


async def run_block(cell: Cell, block: Block, seed: int, is_over: Callable[[], bool]) -> None:
    """Do all steps of a block, then compare everything; nothing more once the run is over."""
    cell.load.go()
    for step in block:
        if is_over():
            return
        cell.where = f"seed {seed} step {step.number} ({step.kind} {step.point} {step.table})"
        await {"kill": kill, "group": group, "pause": pause}[step.kind](cell, step)
        cell.count_replays()
    cell.where = f"seed {seed} after step {block[-1].number}"
    await compare(cell)


async def kill(cell: Cell, step: Step) -> None:
    """Kill the only worker where the step says."""
    cell.treat("a", step.table)
    is_random = step.point == RANDOM
    worker = await cell.start("a", None if is_random else {"point": step.point, "at": step.at, "action": "kill"})
    if is_random:
        # From before it joins until it folds.
        await asyncio.sleep(step.after_s / 1.5 * (cell.options.session_s + 1.5))
    elif step.point in REVOKE_POINTS:
        await cell.taken_over(time.monotonic())
        cell.treat("b", "kept")
        await cell.start("b")
    killed_at = await _reach(worker, step)
    cell.alive.pop("a", None)
    code = await cell.wait_end(worker)
    if code == -signal.SIGKILL:
        cell.tally.kills[killed_at] += 1
        cell.tally.missed.update([step.point] if killed_at != step.point else [])
    else:
        cell.tally.note_self_ended(cell.where, code, cell.said(worker))
    await cell.judge_tables("a")
    if "b" in cell.alive:
        await cell.taken_over(time.monotonic())
        await cell.end("b", signal.SIGKILL)
        cell.tally.kills[RANDOM] += 1
        await cell.judge_tables("b")


async def _reach(worker: Worker, step: Step) -> str:
    """Wait until a worker has killed itself; do it from outside where it does not, or should not itself."""
    if step.point != RANDOM:
        await asyncio.wait([worker.ended], timeout=REACH_S)
    killed_at = RANDOM if worker.is_alive else step.point
    worker.send(signal.SIGKILL)
    return killed_at


async def group(cell: Cell, step: Step) -> None:
    """Let a worker join, leave, die or be replaced, while another one lives."""
    if not cell.alive:
        await cell.start("a")
        await _joined(cell, "a")
    await cell.supervise()
    if len(cell.alive) == 1:
        (new,) = set(NAMES) - set(cell.alive)
        await _join(cell, new, step.table)
        cell.tally.steps["join"] += 1
        # A step of its own, and the one that was asked for needs two workers: it is done too.
    name = NAMES[int(step.choice * 1_000) % 2]
    worker = cell.alive.pop(name)
    began_s = time.monotonic()
    worker.send(signal.SIGKILL if step.point == "SIGKILL" else signal.SIGTERM)
    if step.point != "come back":
        times = cell.tally.failover_kill_s if step.point == "SIGKILL" else cell.tally.failover_term_s
        times.append(await cell.taken_over(began_s))
    code = await cell.wait_end(worker)
    if code != (-signal.SIGKILL if step.point == "SIGKILL" else 0):
        cell.tally.note_self_ended(cell.where, code, cell.said(worker))
    await cell.judge_tables(name)
    if step.point == "come back":
        await _join(cell, name, step.table)
    cell.tally.steps[step.point] += 1


async def _join(cell: Cell, name: str, table: str) -> None:
    cell.treat(name, table)
    await cell.start(name)
    await _joined(cell, name)
    await cell.taken_over(time.monotonic())


async def pause(cell: Cell, step: Step) -> None:
    """Stop a worker for longer than its session while another one takes over, and wake it up again."""
    # One that was paused may have come back beside its heir; a worker alone, and one of two, are both paused.
    for name in list(cell.alive):
        if step.choice < 0.5 or len(cell.alive) > 1:
            await cell.end(name, signal.SIGTERM)
    victim = next(name for name in NAMES if name not in cell.alive)
    cell.treat(victim, step.table)
    fault = None if step.point == RANDOM else {"point": step.point, "at": step.at, "action": "pause"}
    worker = await cell.start(victim, fault)
    await _stopped(cell, worker, step)
    cell.alive.pop(victim)
    began_s = time.monotonic()
    if not cell.alive:
        await cell.start(next(name for name in NAMES if name != victim))
    await cell.taken_over(began_s)
    await asyncio.sleep(max(0.0, cell.options.session_s - (time.monotonic() - began_s)))
    worker.send(signal.SIGCONT)
    cell.alive[victim] = worker
    cell.tally.pauses[step.point] += 1
    cell.tally.pause_ends[await _settled(cell, worker)] += 1
    await cell.taken_over(time.monotonic())


async def _stopped(cell: Cell, worker: Worker, step: Step) -> None:
    if step.point == RANDOM:
        await _joined(cell, worker.name)
        await asyncio.sleep(step.after_s)
    else:
        until_s = time.monotonic() + REACH_S
        while not worker.is_stopped and worker.is_alive and time.monotonic() < until_s:
            await asyncio.sleep(0.05)
        if not worker.is_stopped:
            cell.tally.missed[step.point] += 1
    worker.send(signal.SIGSTOP)


async def _settled(cell: Cell, worker: Worker) -> str:
    """Wait until a worker that was paused has ended, or is a member again."""
    name = worker.name

    async def is_settled() -> bool:
        return not worker.is_alive or await cell.is_ready(name)

    # A process just woken may answer before it knows what it missed.
    began_s = time.monotonic()
    await asyncio.wait([worker.ended], timeout=1.0)
    while not await is_settled():
        if time.monotonic() > began_s + PATIENCE_S:
            raise StepError(f"{cell.where}: {name} neither ended nor joined after its pause\n{cell.said(worker)}")
        await asyncio.sleep(0.1)
    cell.tally.pause_settled_s.append(time.monotonic() - began_s)
    if worker.is_alive:
        return "joined again"
    cell.alive.pop(name)
    code = await cell.wait_end(worker)
    await cell.judge_tables(name)
    return f"exit {code}, fenced" if code == FENCED_EXIT and "fenced" in cell.said(worker) else f"exit {code}"


async def _joined(cell: Cell, name: str) -> None:
    async def is_ready() -> bool:
        return await cell.is_ready(name)

    await cell.until(is_ready, f"{name} has joined")


async def compare(cell: Cell) -> None:
    """Let everything drain, stop all workers, and compare every key and every answer."""
    await cell.load.stop()
    if not cell.alive:
        await cell.start("a")
    ends = await cell.ends()

    async def is_drained() -> bool:
        return ends.items() <= (await cell.committed()).items()

    async def is_counted() -> bool:
        return await cell.judge.read_counts({tp.partition: end for tp, end in ends.items() if tp in cell.listens})

    await cell.until(is_drained, "all listens are folded and all erasures applied")

    async def is_added_up() -> bool:
        committed = await cell.committed()
        changed_to = await cell.judge.read_changes()
        changes = cell.topics.item_count_changes.name
        return all(committed[TopicPartition(changes, partition)] >= end for partition, end in changed_to.items())

    await cell.until(is_counted, "all listens are among the published counts")
    await cell.until(is_added_up, "all counts are added up")
    await _await_answers(cell)
    for name in list(cell.alive):
        worker = cell.alive[name]
        if await cell.end(name, signal.SIGTERM) != 0:
            cell.tally.note_self_ended(cell.where, worker.ended.result(), cell.said(worker))
    tally, judge = cell.tally, cell.judge
    await judge.read_changelog()
    await judge.read_log()
    await judge.read_totals()
    is_at_least_once = cell.options.guarantee == "at_least_once"
    tally.note_counts(cell.where, *judge.counts.wrong(may_repeat=is_at_least_once))
    tally.compared_keys += len(judge.expected())
    tally.note_wrong(cell.where, judge.wrong_in_changelog())
    current = set()
    for name in NAMES:
        current |= await cell.judge_tables(name)
    await _rebuild(cell)
    rebuilt = await cell.judge_tables(REBUILT)
    partitions = set(range(cell.topics.listens.partitions))
    behind = [f"no worker's database holds all of partition {p}" for p in sorted(partitions - current)]
    behind += [f"the rebuilt database is behind in partition {p}" for p in sorted(partitions - rebuilt)]
    tally.note_wrong(cell.where, behind)
    wrong_letters = judge.wrong_dead_letters(may_repeat=is_at_least_once)
    tally.wrong_dead_letters += wrong_letters - cell.known_wrong_letters
    cell.known_wrong_letters = wrong_letters
    cell.count_replays()
    tally.checks += 1


async def _await_answers(cell: Cell) -> None:
    until_s = time.monotonic() + LOST_S
    while missing := cell.load.sessions - set(await cell.judge.read_answers()):
        if time.monotonic() > until_s:
            new = missing - cell.known_lost
            cell.tally.lost_sessions += len(new)
            cell.known_lost |= new
            cell.tally.wrong += [f"{cell.where}: {len(new)} session-starts without an answer: {sorted(new)[:5]}"]
            return
        await cell.supervise()
        await asyncio.sleep(0.2)


async def _rebuild(cell: Cell) -> None:
    """Have a worker make its databases from nothing but the changelog."""
    cell.treat(REBUILT, "lost")
    await cell.start(REBUILT)

    async def has_all() -> bool:
        # One that ended without leaving the group keeps its partitions until its session is over.
        made = {path.stem for path in cell.tables(REBUILT).rglob("*.db")}
        return len(made) == cell.topics.listens.partitions and await cell.is_ready(REBUILT)

    await cell.until(has_all, "all databases are rebuilt")
    await cell.end(REBUILT, signal.SIGTERM)
