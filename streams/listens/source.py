"""Reads the listens and the erasure requests of the owned partitions, and hands them to their folds.

One consumer serves all partitions. A partition is read no further than a batch ahead of its fold; one whose fold makes
no progress is paused, because aiokafka asks a broker for nothing while records of one of its partitions wait.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from sidestream.streams.errors import AccessError, BrokerError, LaneInterrupted
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.partition_reader import Fetched, PartitionReader
from sidestream.streams.listens.erasure.feed import ErasureFeed
from sidestream.streams.listens.folding import Folding, FoldParts
from sidestream.streams.listens.restore.positions import fetch_wait_ms, source_reader
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.waiting import run_concurrently

_log = get_log(__name__)

POLL_MS = 200
# While some partitions wait for their folds, which may want more at any moment.
BUSY_POLL_MS = 10
# aiokafka parses records when they are taken: a whole fetched backlog would block for 40 ms.
TAKE_RECORDS = 256
# A partition with records waiting for this long is paused. Whoever reads it again has to parse a batch of the log from
# its beginning, 40 ms for 1 MB: under a backlog, partitions that merely take their turns must not be paused.
STUCK_S = 5.0
# Pause after a request that Kafka refused.
FAILED_S = 0.5
# After this many refusals in a row the consumers are opened again.
MAX_REFUSED = 10
TICK_S = 0.1

T = TypeVar("T")


class ListenSource:
    """Source of all partitions that a worker owns; they come and go.

    Args:
        clients: Kafka client factory.
        parts: What the folds share.
        num_partitions: Number of partitions of the topic.
        num_owned: How many of them this worker owns.
        clock: Monotonic seconds.

    Attributes:
        positions: Read positions of the partitions that are read.
    """

    def __init__(
        self,
        clients: Clients,
        parts: FoldParts,
        num_partitions: int,
        num_owned: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.positions: dict[int, int] = {}
        self._parts, self._clock = parts, clock
        self._partitions = range(num_partitions)
        self._reader = source_reader(clients, parts.topic, parts.settings, self._partitions, num_owned)
        self._folds: dict[int, Folding] = {}
        self._num_refused = 0
        # When a partition's fold was last seen with room for more; partitions that are paused.
        self._roomy_s: dict[int, float] = {}
        self._paused: set[int] = set()

    @property
    def reader(self) -> PartitionReader:
        """Reader of the listens, for the offsets of its partitions."""
        return self._reader

    def set_owned(self, num_owned: int) -> None:
        """Set the number of owned partitions, which decides how long a broker collects listens."""
        self._reader.set_fetch_wait(fetch_wait_ms(self._parts.settings, num_owned))

    async def open(self, *, commits_erasures: bool) -> None:
        """Connect; nothing is read before `begin`.

        Args:
            commits_erasures: Whether Faust commits the offsets of the erasures.

        Raises:
            BrokerError: Kafka does not answer.
        """
        await self._reader.open()
        if self._parts.erasures is not None:
            await self._parts.erasures.open(self._partitions, commits=commits_erasures)

    async def close(self) -> None:
        """Close the connections."""
        self._folds.clear()
        await self._reader.close()
        if self._parts.erasures is not None:
            await self._parts.erasures.close()

    def begin(self, partition: int, fold: Folding) -> None:
        """Read a partition from the fold's position on."""
        self._folds[partition] = fold
        self._roomy_s[partition] = self._clock()
        self.positions[partition] = fold.next_offset
        self._reader.begin(partition, fold.next_offset)

    def end(self, partition: int) -> None:
        """Stop reading a partition."""
        self._reader.pause(partition)
        self._paused.discard(partition)
        for known in (self._folds, self._roomy_s, self.positions):
            known.pop(partition, None)
        if self._parts.erasures is not None:
            self._parts.erasures.pause(partition)

    async def run(self, on_lost: Callable[[int], None]) -> None:
        """Read until cancelled.

        Args:
            on_lost: Called with a partition whose position is no longer in the log.

        Raises:
            LaneError: This process was paused for so long that another one may own its partitions.
        """
        loops = [self._read_listens(on_lost), self._tick()]
        if self._parts.erasures is not None:
            loops.append(self._read_erasures(self._parts.erasures))
        await run_concurrently(loops)

    async def _read_listens(self, on_lost: Callable[[int], None]) -> None:
        stall = self._parts.stall
        if stall is not None:
            stall.ran()
        while True:
            limit = self._parts.pacer.batch_records(self._parts.settings.max_batch_records)
            roomy = [partition for partition, fold in self._folds.items() if fold.num_waiting < limit]
            self._pause_stuck(roomy)
            is_busy = len(roomy) < len(self._folds)
            if not roomy:
                await asyncio.sleep(BUSY_POLL_MS / 1e3)
            else:
                timeout_ms = BUSY_POLL_MS if is_busy else POLL_MS
                fetched = await self._answer(self._reader.fetch(timeout_ms, TAKE_RECORDS, roomy), Fetched({}, ()))
                for partition, records in fetched.records.items():
                    if partition in self._folds:
                        self._folds[partition].offer(records)
                for partition in fetched.lost:
                    on_lost(partition)
            if stall is not None:
                stall.resume()
            await self._parts.pacer.yield_if_due()

    async def _read_erasures(self, erasures: ErasureFeed) -> None:
        while True:
            free = [partition for partition, fold in self._folds.items() if not fold.has_requests]
            if not free:
                await asyncio.sleep(TICK_S)
                continue
            for partition, requests in (await self._answer(erasures.fetch(POLL_MS, free), {})).items():
                if partition in self._folds:
                    self._folds[partition].offer_requests(requests)

    async def _answer(self, fetch: Coroutine[Any, Any, T], nothing: T) -> T:
        """Await a fetch; a request that Kafka refuses is repeated, but not for ever."""
        try:
            fetched = await fetch
        except AccessError:
            raise
        except BrokerError as exc:
            self._num_refused += 1
            if self._num_refused == MAX_REFUSED:
                msg = f"{self._parts.topic}: cannot be read ({exc}); check the broker"
                raise LaneInterrupted(msg) from exc
            _log.warning("listens cannot be read now", topic=self._parts.topic, detail=str(exc))
            await asyncio.sleep(FAILED_S)
            return nothing
        self._num_refused = 0
        return fetched

    async def _tick(self) -> None:
        while True:
            if self._parts.erasures is not None:
                self._parts.erasures.start_rounds()
            for partition, fold in list(self._folds.items()):
                if self._folds.get(partition) is fold:
                    position = self.positions[partition] = await self._reader.position(partition)
                    fold.tick(position)
            await asyncio.sleep(TICK_S)

    def _pause_stuck(self, roomy: Iterable[int]) -> None:
        now_s = self._clock()
        for partition in roomy:
            self._roomy_s[partition] = now_s
            if partition in self._paused:
                self._paused.discard(partition)
                self._reader.resume(partition)
        for partition, roomy_s in self._roomy_s.items():
            if now_s - roomy_s > STUCK_S and partition not in self._paused:
                self._paused.add(partition)
                self._reader.pause(partition)


def unread(positions: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
    """Count the listens that are not fetched.

    Args:
        positions: Read positions by partition.
        ends: Recent end offsets of the topic, by partition.

    Returns:
        Number by partition; transaction markers count until they are skipped.
    """
    return {p: max(0, ends.get(p, 0) - position) for p, position in positions.items()}
