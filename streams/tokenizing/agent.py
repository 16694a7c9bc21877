"""The catalogue agent: `catalog-items.v1` -> `item-sids.v1`, in micro-batches, acked when the broker has them.

Why not `stream.take()`: it acks a whole batch even when its body raised. Here the agent only moves events into an
inbox without acking; a worker task encodes them in a thread, sends, waits for every ack of the broker and only then
acks the events, in order. A crash replays whole batches, and readers order values by source offset, so that is safe.

On revocation what waits is given up and the batch under way awaited: a value written late by an old owner could become
the last one of its key and, after compaction, the only one. Events carry the epoch in which they were taken, for one
more may wait for room in the inbox and come in behind the revocation. A process that was paused past its session has
not heard of the revocation yet: it ends before it writes.

Faust commits past one hole of a compacted topic per commit interval: after a restart some items are tokenized again.

Live items pass through `sidestream.streams.tokenizing.live.items` on their way out; what else concerns them comes in
by the same inbox.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from faust.types import TP
from mode import Service

from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.progress import IDLE, Work
from sidestream.streams.runtime.stall import StallGuard
from sidestream.streams.tokenizing.events import Source, source_of
from sidestream.streams.tokenizing.live.service import SWEEP_S, LiveItemsService
from sidestream.streams.tokenizing.records import Maker
from sidestream.streams.tokenizing.settings import AgentSettings
from sidestream.streams.tokenizing.values import ItemEncoder, item_sids

_MAX_REQUEST_BYTES = 4 << 20
_REVOKE_WAIT_S = 3.0
_TICK_S = 0.5


class CatalogAgent(Service):
    """Tokenizes what comes in.

    Args:
        app: The Faust app; gets an agent for each topic that is read.
        clients: The Kafka.
        topics: All topics.
        encoder: The tokenizer.
        limits: What catalogue records must keep.
        settings: Micro-batches.
        metrics: Counts and times.
        seconds: Monotonic clock in seconds.
        live: Live items; none treats them as any other.

    Attributes:
        epoch: Changes with every revocation.
        turn: Held by the batch under way.
        maker: Makes values, of the version of `encoder` alone until it is told others, in a turn of one's own.
        may_work: Cleared, batches wait; only to be cleared where none is under way: from a rebalance on.
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
        self._clients = clients
        self._topics = topics
        self.maker = Maker(topics, partial(item_sids, encoder, settings=settings), limits, metrics)
        self.may_work = asyncio.Event()
        self.may_work.set()
        self.turn = asyncio.Lock()
        # Latest offset of each item taken since its partition was watched.
        self._newest: dict[int, dict[bytes | None, int]] = {}
        self.settings = settings
        self._metrics = metrics
        self._inbox: asyncio.Queue[Any] = asyncio.Queue(2 * settings.max_batch)
        self.epoch = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._batches_done = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._producer: AIOKafkaProducer | None = None
        self._live = live
        for topic in (topics.catalog_items.name, *(live.sources if live is not None else ())):
            source = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
            app.agent(source, name=topic, concurrency=1)(self._take)
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_partitions_revoked.connect(self._on_revoked)

    def work(self) -> Work:
        """Tell how many events wait for their micro-batch, the one under way counted as one."""
        if not self.may_work.is_set():
            return IDLE
        return Work(self._inbox.qsize() + (not self._idle.is_set()), self._batches_done)

    def watch(self, partition: int) -> None:
        """Note from now on which items of a partition have news, until a revocation or `unwatch`."""
        self._newest[partition] = {}

    def unwatch(self) -> None:
        """Note it no longer."""
        self._newest.clear()

    async def rewrite(
        self, epoch: int, sources: Sequence[Source], make: Callable[[Sequence[Source]], list[Outgoing | None]]
    ) -> int | None:
        """Publish values of earlier events anew, between two batches, where no newer event of their items was taken.

        Args:
            epoch: In which the partition was watched.
            sources: Earlier events of watched partitions.
            make: Makes a record of each, or none; called in the tokenizer's thread.

        Returns:
            How many of the events had no newer one; none where the partitions were revoked, and nothing was written.

        Raises:
            LaneError: They were not acknowledged, or this process stood still for too long.
        """
        async with self.turn:
            if epoch != self.epoch or self._producer is None:
                return None
            latest = [s for s in sources if self._newest[s.partition].get(s.key, -1) < s.offset]
            await self._pass(self._producer, latest, make)
            return len(latest)

    async def on_start(self) -> None:
        """Open the producer and begin to work."""
        producer = self._clients.async_producer(max_request_bytes=_MAX_REQUEST_BYTES)
        await producer.start()
        self._producer = producer
        self._stall.ran()
        self.add_future(self._tick())
        self.add_future(self._work(producer))

    async def on_stop(self) -> None:
        """Let the batch under way end, then close the producer; events not acked come again."""
        self.epoch += 1
        if self._producer is not None:
            await self._batch_ended()
            await self._producer.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _take(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self._inbox.put((self.epoch, stream, event))

    async def _on_assigned(self, *args: Any, **kwargs: Any) -> None:
        del kwargs
        assigned: Collection[TP] = args[-1]
        if self._live is not None:
            self._live.assigned({tp.partition for tp in assigned if tp.topic == self._topics.catalog_items.name})

    async def _on_revoked(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self.epoch += 1
        self._newest.clear()
        if self._live is not None:
            self._live.assigned(())
        while not self._inbox.empty():
            self._inbox.get_nowait()
        if not await self._batch_ended():
            msg = (
                f"{self._topics.catalog_items.name}: the batch under way did not end within {_REVOKE_WAIT_S} s of the "
                "revocation; the worker must restart, because another one may own its partitions by now"
            )
            raise LaneError(msg)

    async def _batch_ended(self) -> bool:
        try:
            async with asyncio.timeout(_REVOKE_WAIT_S):
                await self._idle.wait()
                await self.turn.acquire()
        except TimeoutError:
            return False
        self.turn.release()
        return True

    async def _work(self, producer: AIOKafkaProducer) -> None:
        while not self.should_stop:
            batch = await self._next()
            await self.may_work.wait()
            self._idle.clear()
            try:
                if batch:
                    batch += await self._company()
                async with self.turn:
                    await self._turn(producer, [taken for taken in batch if taken[0] == self.epoch])
                self._batches_done += 1
            finally:
                self._idle.set()

    async def _turn(self, producer: AIOKafkaProducer, batch: list[Any]) -> None:
        if batch:
            await self._do(producer, batch)
        if self._live is not None and (records := await self._live.sweep()):
            await self._send(producer, records)

    async def _next(self) -> list[Any]:
        """Wait for an event; not for ever, for live items end by the clock."""
        if not self._inbox.empty():
            return [self._inbox.get_nowait()]
        try:
            async with asyncio.timeout(None if self._live is None else SWEEP_S):
                return [await self._inbox.get()]
        except TimeoutError:
            return []

    async def _do(self, producer: AIOKafkaProducer, batch: list[tuple[int, Any, Any]]) -> None:
        with self._metrics.tokenize_seconds.time():
            await self._process(producer, [event.message for _, _, event in batch])
        for _, stream, event in batch:
            await stream.ack(event)

    async def _company(self) -> list[Any]:
        """Collect what else comes within the batch time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.settings.batch_ms / 1e3
        batch: list[Any] = []
        while len(batch) < self.settings.max_batch - 1:
            if not self._inbox.empty():
                # What is there needs no timer, which costs more than the rest of the way.
                batch.append(self._inbox.get_nowait())
                continue
            try:
                async with asyncio.timeout_at(until):
                    batch.append(await self._inbox.get())
            except TimeoutError:
                break
        return batch

    async def _process(self, producer: AIOKafkaProducer, messages: list[Any]) -> None:
        sources = [source_of(message) for message in messages]
        for source in sources:
            if source.topic == self._topics.catalog_items.name and source.partition in self._newest:
                self._newest[source.partition][source.key] = source.offset
        await self._pass(producer, sources)

    async def _pass(self, producer: AIOKafkaProducer, sources: Sequence[Source], make: Any = None) -> None:
        """Make records of events, let live items have their say, and send."""
        if self._live is not None:
            await self._live.ready({source.partition for source in sources})
        outgoing = await asyncio.get_running_loop().run_in_executor(self._thread, self._outgoing, sources, make)
        await self._send(producer, outgoing)

    async def _send(self, producer: AIOKafkaProducer, outgoing: Sequence[Outgoing]) -> None:
        self._stall.check()
        states = self._topics.live_states.name
        try:
            # States first: what a crash leaves undone between the two follows from them.
            for part in ([r for r in outgoing if r[0] == states], [r for r in outgoing if r[0] != states]):
                acks = [await producer.send(topic, value, key, headers=headers) for topic, key, value, headers in part]
                await asyncio.gather(*acks)
        except KafkaError as exc:
            targets = " and ".join(sorted({topic for topic, *_ in outgoing}))
            msg = (
                f"{targets}: {len(outgoing)} records that catalogue events made were not acknowledged ({exc!r}); "
                "check the broker, then restart the worker: they are taken again"
            )
            raise LaneError(msg) from exc

    async def _tick(self) -> None:
        while True:
            # With nothing in hand there is nothing that another worker could have done meanwhile.
            if self._newest or not (self._idle.is_set() and self._inbox.empty()):
                self._stall.check()
            self._stall.ran()
            await asyncio.sleep(_TICK_S)

    def _outgoing(self, sources: Sequence[Source], make: Any = None) -> list[Outgoing]:
        outgoing = (make or self.maker.of_events)(sources)
        if self._live is not None:
            return self._live.items.through(sources, outgoing, self.maker.bury)
        return [record for record in outgoing if record is not None]
