"""One partition of the listens, from its assignment to its revocation: restored, ready and folded by itself.

Each step depends on the one before: 1. open the writer, which with transactions fences older owners and ends their open
transactions, 2. read the group's committed source offset, 3. open the table, restore it to the changelog's end as of
now, and reject states of another source (`source_check`), 4. read the source from the first listen that is not folded,
and the erasures likewise, 5. fold until revoked. What does not depend on another step is done at the same time: users
wait for it.

Where Kafka does not answer as needed, or what it did is not known, the same steps are taken again in the same process:
that is as safe as a restart, and the table, caches and sessions stay. Until then the partition is answered from what
is durable. The broker fences the producer of a transaction that was open for too long, even though nobody else owns the
partition; so a fenced writer is opened again as long as the group still counts this worker as a member.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aiokafka.errors import KafkaError

from sidestream.streams.errors import BrokerError, LaneFenced, LaneInterrupted
from sidestream.streams.listens.derived import DerivedOutput, PartitionOutput
from sidestream.streams.listens.folding import Folding, FoldParts
from sidestream.streams.listens.restore.followed import STAMP_MS, is_stamp_due
from sidestream.streams.listens.restore.positions import start_position, write_origin
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.restore.source_check import SourceCheck
from sidestream.streams.listens.source import ListenSource
from sidestream.streams.listens.standbys import Standbys
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.lane_protocol import LaneHost
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.waiting import run_concurrently, run_in_thread, run_until

_log = get_log(__name__)

# Limit of each request while a partition is opened; below the watchdog's limit.
STEP_S = 25.0
# Pauses between attempts to open a partition.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
# How long a lasting failure is not logged again.
QUIET_S = 10.0

T = TypeVar("T")


class PartitionFold:
    """One partition of one assignment.

    Args:
        partition: Partition number.
        parts: What the folds share.
        host: Group membership.
        tables: Local tables.
        restorer: Restores the table.
        check: Compares table and topics.
        standbys: Hands the table over, if this worker was a standby of the partition.
        source: Reads the listens and the erasures; open.
        derived: Output derived from the listens; None if there is none.
        clock: Monotonic seconds.

    Attributes:
        is_ready: Whether the partition has been opened once, so that its states can be read.
        num_attempts: Number of times it was opened.
        trouble: Why it cannot be folded now; None if it can.
        folding: Its fold; None before the first opening.
    """

    def __init__(
        self,
        partition: int,
        parts: FoldParts,
        host: LaneHost,
        tables: UserTable,
        restorer: Restorer,
        check: SourceCheck,
        standbys: Standbys,
        source: ListenSource,
        derived: DerivedOutput | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_ready = False
        self.num_attempts = 0
        self.trouble: str | None = None
        self.folding: Folding | None = None
        self._partition, self._parts, self._host = partition, parts, host
        self._tables, self._restorer, self._check = tables, restorer, check
        self._standbys, self._source, self._derived, self._clock = standbys, source, derived, clock
        self._where = f"{parts.topic}/{partition}"
        self._output: PartitionOutput | None = None
        self._is_lost = asyncio.Event()
        self._quiet_until_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it is being folded."""
        return self.is_ready and self.trouble is None

    def position_lost(self) -> None:
        """Note that the read position is no longer in the log: the partition is opened again, which decides."""
        self._is_lost.set()

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None]) -> None:
        """Open and fold until stopped.

        Args:
            stop: Ends it when set; the batch in flight is finished.
            on_ready: Called when the partition can be read for the first time.

        Raises:
            LaneFenced: The group no longer counts this worker as a member.
            LaneError: The partition cannot be folded without an operator.
        """
        pause_s = FIRST_PAUSE_S
        try:
            while not stop.is_set():
                self.num_attempts += 1
                begun_s = self._clock()
                try:
                    # There is no work to finish yet: a revocation need not wait for a broker that does not answer.
                    if not await run_until(stop, self._open(on_ready)):
                        return
                    await self._fold(stop)
                except (LaneInterrupted, BrokerError) as exc:
                    self._note(exc)
                except LaneFenced as exc:
                    if stop.is_set():
                        return  # the next owner was faster, and folds again what was not kept
                    if not await self._is_member(stop):
                        raise
                    self._note(exc)
                finally:
                    self._source.end(self._partition)
                if self._clock() - begun_s > STEP_S:
                    pause_s = FIRST_PAUSE_S
                await run_until(stop, asyncio.sleep(pause_s))
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        finally:
            self.is_ready = False
            await self._parts.writer.close(self._partition)
            await self._restorer.release(self._partition)
            await run_in_thread(self._tables.close, [self._partition])

    async def _open(self, on_ready: Callable[[], None]) -> None:
        partition, parts, topic = self._partition, self._parts, self._parts.topic
        await run_concurrently([parts.writer.open(partition), self._step(self._check.read_topics())])
        committed, erased, *_ = await run_concurrently(
            [self._committed(topic), self._committed(None if parts.erasures is None else parts.erasures.topic)]
        )
        await self._standbys.hand_over(partition)
        table = (await run_in_thread(self._tables.open, [partition]))[partition]
        await run_concurrently([self._restore(table), self._prepare_output()])
        origin = self._check.after_restore(partition, table, committed)
        parts.writer.set_changelog_end(partition, table.positions.changelog_offset + 1)
        position = await self._step(start_position(self._source.reader, partition, table, committed))
        if origin is not None:
            await write_origin(parts.writer, partition, table, position, origin)
        if parts.erasures is not None:
            await self._step(parts.erasures.begin(partition, table, erased))
        if self._derived is not None:
            self._output = await self._step(self._derived.resume(partition, position))
        self.folding = Folding(parts, partition, table, position, self._output)
        self._is_lost.clear()
        self._source.begin(partition, self.folding)
        if self.trouble is not None:
            _log.info("folding again", partition=self._where, attempts=self.num_attempts)
        self.trouble, self.is_ready = None, True
        on_ready()

    async def _committed(self, topic: str | None) -> int | None:
        if topic is None:
            return None
        return (await self._step(self._host.committed(topic, [self._partition])))[self._partition]

    async def _restore(self, table: PartitionTable) -> None:
        await self._step(self._check.before_restore(self._partition, table))
        await self._restorer.restore(self._partition, table, self._check.removals_kept_ms, self._close_states)

    async def _prepare_output(self) -> None:
        if self._derived is not None:
            await self._step(self._derived.prepare(self._partition))

    def _close_states(self) -> None:
        self.is_ready, self.folding = False, None

    async def _fold(self, stop: asyncio.Event) -> None:
        folding = self.folding
        if folding is None:
            return
        folds = asyncio.create_task(folding.run(stop), name=f"fold of {self._where}")
        tasks = {folds, asyncio.create_task(self._until_lost()), asyncio.create_task(self._stamp_idle())}
        if self._output is not None:  # in the background: the partition is ready before
            tasks.add(asyncio.create_task(self._output.catch_up(stop), name=f"catch-up of {self._where}"))
        waiting = set(tasks)
        try:
            while folds in waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_lost(self) -> None:
        await self._is_lost.wait()
        msg = f"{self._where}: the next listen is no longer in the log"
        raise LaneInterrupted(msg)

    async def _stamp_idle(self) -> None:
        """Note from time to time that the table is complete: one without batches would count as old one day."""
        while True:
            await asyncio.sleep(STAMP_MS / 1e3)
            table = self._tables.get(self._partition)
            if table is not None and is_stamp_due(table):
                table.write({}, table.positions)

    async def _is_member(self, stop: asyncio.Event) -> bool:
        """Ask the group whether it still counts this worker as a member; a revocation answers too."""
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await self._host.confirm_member())

        try:
            async with asyncio.timeout(STEP_S):
                return not await run_until(stop, ask()) or answers[0]
        except TimeoutError:
            return False

    async def _step(self, work: Coroutine[Any, Any, T]) -> T:
        """Await requests to Kafka, for a limited time."""
        try:
            async with asyncio.timeout(STEP_S):
                return await work
        except (KafkaError, TimeoutError) as exc:
            msg = f"{self._where}: cannot be opened now ({exc!r}); check the broker"
            raise LaneInterrupted(msg) from exc

    def _note(self, exc: Exception) -> None:
        self.trouble = str(exc)
        if self._clock() >= self._quiet_until_s:
            self._quiet_until_s = self._clock() + QUIET_S
            _log.warning("not folding now", partition=self._where, attempts=self.num_attempts, detail=str(exc))
