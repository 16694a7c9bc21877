"""The catalogue agent: `catalog-items.v1` -> `item-sids.v1`, in micro-batches, acked once the broker has the values.

Why not `stream.take()`: it acks a whole batch even when its body raised. Here the agent only moves events into an
inbox without acking; a worker task encodes them in a thread, sends, waits for every ack of the broker and only then
acks the events, in order. After a crash whole batches are replayed, and readers order values by source offset, so that
is safe.

On revocation, queued events are dropped and the batch in flight is awaited for a limited time, then abandoned with its
producer: a value written late by the previous owner could become the last one of its key and, after compaction, the
only one. Each event carries the epoch in which it was consumed, because one that waits for space in the inbox may enter
it after the revocation. A process that was paused for longer than its session does not know of the revocation yet: it
stops before it writes.

While brokers are away, the batch in flight waits; it is sent again by a new producer where the old one has ended.

Faust commits past one hole of a compacted topic per commit interval: after a restart some items are tokenized again.

Values of live items pass through `sidestream.streams.tokenizing.live.items` before they are sent. Their segments and
listener sums arrive through the same inbox.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import faust
from faust.types import TP
from mode import Service

from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.progress import IDLE, Work
from sidestream.streams.runtime.stall import StallGuard
from sidestream.streams.tokenizing.live.items import LIVE_MARK
from sidestream.streams.tokenizing.live.service import SWEEP_S, LiveItemsService
from sidestream.streams.tokenizing.records import ConsumedRecord, RecordMaker
from sidestream.streams.tokenizing.sending import AgentSender
from sidestream.streams.tokenizing.settings import AgentSettings
from sidestream.streams.tokenizing.values import ItemEncoder, item_sids

_log = get_log(__name__)

_REVOKE_WAIT_S = 3.0
_TICK_S = 0.5

MakeRecords = Callable[[Sequence[ConsumedRecord]], list[Outgoing | None]]


class CatalogAgent(Service):
    """Tokenizes catalogue records.

    Args:
        app: The Faust app; an agent is registered for each topic that is read.
        clients: Kafka clients.
        topics: All topics.
        encoder: The tokenizer.
        limits: Bounds that catalogue records must keep.
        settings: Micro-batches.
        metrics: Counts and times.
        seconds: Monotonic clock in seconds.
        live: Live items; `None` treats them like all other items.

    Attributes:
        epoch: Changes with every revocation.
        write_lock: Held while a batch is in flight.
        sender: Sends what it made.
        record_maker: Makes the records. It uses the version of `encoder` alone until others are set, which needs
            `write_lock`.
        may_work: While it is cleared, batches wait. Clear it only while none is in flight: from a rebalance on.
    """

    mundane_level = "debug"

    def __init__(
        self,
        app: faust.App,
        clients: Clients,
        topics: Topics,
        encoder: ItemEncoder,
        limits: Limits,
        settings: AgentSettings,
        metrics: Metrics,
        seconds: Callable[[], float] = time.monotonic,
        live: LiveItemsService | None = None,
    ) -> None:
        super().__init__()
        self._stall = StallGuard(topics.catalog_items.name, clients.settings.session_timeout_ms, seconds)
        self._topics = topics
        self.record_maker = RecordMaker(topics, partial(item_sids, encoder, settings=settings), limits, metrics)
        self.may_work = asyncio.Event()
        self.may_work.set()
        self.write_lock = asyncio.Lock()
        # Latest offset of each item consumed since its partition was watched.
        self._newest: dict[int, dict[bytes | None, int]] = {}
        self.settings = settings
        self._metrics = metrics
        self._inbox: asyncio.Queue[Any] = asyncio.Queue(2 * settings.max_batch)
        self.epoch = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._batches_done = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self.sender = AgentSender(clients, topics.live_states)
        self._live = live
        for topic in (topics.catalog_items.name, *(live.sources if live is not None else ())):
            source = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
            app.agent(source, name=topic, concurrency=1)(self._enqueue)
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_partitions_revoked.connect(self._on_revoked)

    def work(self) -> Work:
        """Return how many events wait for their micro-batch; the batch in flight counts as one."""
        if not self.is_able:
            return IDLE
        return Work(self._inbox.qsize() + (not self._idle.is_set()), self._batches_done)

    @property
    def is_able(self) -> bool:
        """Whether it may work and does not wait for Kafka."""
        return self.may_work.is_set() and not self.sender.is_waiting

    def watch(self, partition: int) -> None:
        """Record which items of a partition are updated from now on, until a revocation or `unwatch`."""
        self._newest[partition] = {}

    def unwatch(self) -> None:
        """Stop recording updates, of all partitions."""
        self._newest.clear()

    async def rewrite(self, epoch: int, earlier: Sequence[ConsumedRecord], make: MakeRecords) -> int | None:
        """Publish values of earlier records again, between two batches, for items without a newer record.

        Args:
            epoch: Epoch in which the partition was watched.
            earlier: Earlier records of watched partitions.
            make: Makes a record to publish, or `None`, for each; called in the tokenizer's thread.

        Returns:
            How many of the records had no newer one. `None` if the partitions were revoked: nothing was written, or
            only a part.

        Raises:
            LaneError: The broker refused a value, or this process was paused for too long.
        """
        async with self.write_lock:
            if epoch != self.epoch:
                return None
            latest = [
                record for record in earlier if self._newest[record.partition].get(record.key, -1) < record.offset
            ]
            return len(latest) if await self._publish(latest, epoch, make) else None

    async def on_start(self) -> None:
        """Open the producer and start to work."""
        await self.wait(self.sender.producer.start())
        self._stall.ran()
        self.add_future(self._tick())
        self.add_future(self._run())
        if self._live is not None:
            self.add_future(self._sweep_live(self._live))

    async def on_stop(self) -> None:
        """Let the batch in flight end, then close the producer; events that are not acked are delivered again."""
        self.epoch += 1
        await self._batch_ended()
        await self.sender.producer.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _enqueue(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self._inbox.put((self.epoch, stream, event))

    async def _on_assigned(self, *args: Any, **kwargs: Any) -> None:
        del kwargs
        assigned: Collection[TP] = args[-1]
        if self._live is not None:
            self._live.on_assigned({tp.partition for tp in assigned if tp.topic == self._topics.catalog_items.name})

    async def _on_revoked(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self.epoch += 1
        self._newest.clear()
        if self._live is not None:
            self._live.on_assigned(())
        while not self._inbox.empty():
            self._inbox.get_nowait()
        if not await self._batch_ended():
            # Another worker may own its partitions by now: it gets the events again.
            await self.sender.abandon(self.epoch)
            _log.warning("batch in flight abandoned at a revocation", after_s=_REVOKE_WAIT_S)

    async def _batch_ended(self) -> bool:
        try:
            async with asyncio.timeout(_REVOKE_WAIT_S):
                await self._idle.wait()
                await self.write_lock.acquire()
        except TimeoutError:
            return False
        self.write_lock.release()
        return True

    async def _run(self) -> None:
        while not self.should_stop:
            first = await self._inbox.get()
            await self.may_work.wait()
            self._idle.clear()
            try:
                batch = await self._collect_batch(first)
                async with self.write_lock:
                    await self._process_batch([entry for entry in batch if entry[0] == self.epoch])
                self._batches_done += 1
            finally:
                self._idle.set()

    async def _collect_batch(self, first: Any) -> list[Any]:
        """Collect the events that arrive within the batch time after the first one."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.settings.batch_ms / 1e3
        batch = [first]
        while len(batch) < self.settings.max_batch:
            if not self._inbox.empty():
                # A queued event needs no timer, which costs more than everything else here.
                batch.append(self._inbox.get_nowait())
                continue
            try:
                async with asyncio.timeout_at(until):
                    batch.append(await self._inbox.get())
            except TimeoutError:
                break
        return batch

    async def _process_batch(self, batch: list[tuple[int, Any, Any]]) -> None:
        if not batch:
            return
        with self._metrics.tokenize_seconds.time():
            consumed = [ConsumedRecord.from_message(event.message) for _, _, event in batch]
            for record in consumed:
                if record.topic == self._topics.catalog_items.name and record.partition in self._newest:
                    self._newest[record.partition][record.key] = record.offset
            is_published = await self._publish(consumed, batch[0][0])
        if is_published:
            for _, stream, event in batch:
                await stream.ack(event)

    async def _publish(
        self,
        consumed: Sequence[ConsumedRecord],
        epoch: int,
        make: MakeRecords | None = None,
    ) -> bool:
        """Make the records that follow from consumed ones, and send them; return whether they were acknowledged."""
        partitions = {record.partition for record in consumed}
        if self._live is not None and not partitions <= self._live.restored:
            await self.sender.restore(self._live, epoch, partitions)
        loop = asyncio.get_running_loop()
        outgoing = await loop.run_in_executor(self._thread, self._make_records, consumed, make)
        self._stall.check()
        return await self.sender.send(outgoing, epoch)

    def _make_records(self, consumed: Sequence[ConsumedRecord], make: MakeRecords | None = None) -> list[Outgoing]:
        outgoing = (make or self.record_maker.make_records)(consumed)
        if self._live is not None and self._concerns_live_items(self._live, consumed, outgoing):
            return self._live.items.apply(consumed, outgoing, self.record_maker.to_dead_letter)
        return [record for record in outgoing if record is not None]

    def _concerns_live_items(
        self, live: LiveItemsService, consumed: Sequence[ConsumedRecord], outgoing: Sequence[Outgoing | None]
    ) -> bool:
        """Whether a batch has a segment or a listener sum, or an item that is live or was until now; most have none."""
        states = live.items.states
        return any(
            record.topic != self._topics.catalog_items.name
            or record.key in states.get(record.partition, ())
            or (made is not None and made[2] is not None and LIVE_MARK in made[2])
            for record, made in zip(consumed, outgoing, strict=True)
        )

    async def _sweep_live(self, live: LiveItemsService) -> None:
        """Once a second, end the live items that have expired: the clock ends them, not an event."""
        while not self.should_stop:
            await self.sleep(SWEEP_S)
            await self.may_work.wait()
            async with self.write_lock:
                epoch = self.epoch
                await self.sender.restore(live, epoch)
                if not self.should_stop and epoch == self.epoch and (records := await live.sweep()):
                    self._stall.check()
                    await self.sender.send(records, epoch)

    async def _tick(self) -> None:
        while True:
            # With nothing in flight there is nothing that another worker could have done in the meantime.
            if self._newest or self.write_lock.locked() or not (self._idle.is_set() and self._inbox.empty()):
                self._stall.check()
            self._stall.ran()
            await asyncio.sleep(_TICK_S)
