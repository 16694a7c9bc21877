"""The catalogue agent: `catalog-items.v1` -> `item-sids.v1`, in micro-batches, acked when the broker has them.

Why not `stream.take()`: it acks a whole batch even when its body raised. Here the agent only moves events into an
inbox without acking; a worker task encodes them in a thread, sends, waits for every ack of the broker and only then
acks the events, in order. A crash replays whole batches, and readers order values by source offset, so that is safe.

On revocation what waits is given up and the batch under way awaited: a value written late by an old owner could become
the last one of its key and, after compaction, the only one. Events carry the epoch in which they were taken, for one
more may wait for room in the inbox and come in behind the revocation. A process that was paused past its session has
not heard of the revocation yet: it ends before it writes.

Faust commits past one hole of a compacted topic per commit interval: after a restart some items are tokenized again.

Live items pass through `streams.live.items` on their way out; what else concerns them comes in by the same inbox.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from faust.types import TP
from mode import Service

from models.records import CatalogItem
from streams.agents.settings import AgentSettings
from streams.agents.sources import Source, source_of
from streams.agents.tokenizing import ItemEncoder, item_sids
from streams.connect import Clients
from streams.contracts.deadletters import SourceRecord, dead_letter
from streams.contracts.decode import Limits, Reason, decode_catalog_item
from streams.contracts.topics import Topics
from streams.errors import BadRecord, LaneError, TokenizerError
from streams.live.room import SWEEP_S, LiveRoom
from streams.metrics import Metrics
from streams.progress import Work

_MAX_REQUEST_BYTES = 4 << 20
_REVOKE_WAIT_S = 3.0
_TICK_S = 0.5

# What data does to numpy, codecs and pydantic. Anything else is a defect of ours, which would bury the whole catalogue.
_ITEM_ERRORS = (TokenizerError, ValueError, ArithmeticError)

Outgoing = tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]


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
        live: LiveRoom | None = None,
    ) -> None:
        super().__init__()
        self._seconds = seconds
        self._awake_at_s = seconds()
        self._clients = clients
        self._topics = topics
        self._encoder = encoder
        self._limits = limits
        self._settings = settings
        self._metrics = metrics
        self._inbox: asyncio.Queue[Any] = asyncio.Queue(2 * settings.max_batch)
        self._epoch = 0
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
        return Work(self._inbox.qsize() + (not self._idle.is_set()), self._batches_done)

    async def on_start(self) -> None:
        """Open the producer and begin to work."""
        producer = self._clients.async_producer(max_request_bytes=_MAX_REQUEST_BYTES)
        await producer.start()
        self._producer = producer
        self._awake_at_s = self._seconds()
        self.add_future(self._tick())
        self.add_future(self._work(producer))

    async def on_stop(self) -> None:
        """Let the batch under way end, then close the producer; events not acked come again."""
        self._epoch += 1
        if self._producer is not None:
            await self._batch_ended()
            await self._producer.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _take(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self._inbox.put((self._epoch, stream, event))

    async def _on_assigned(self, *args: Any, **kwargs: Any) -> None:
        del kwargs
        assigned: Collection[TP] = args[-1]
        if self._live is not None:
            self._live.assigned({tp.partition for tp in assigned if tp.topic == self._topics.catalog_items.name})

    async def _on_revoked(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self._epoch += 1
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
            await asyncio.wait_for(self._idle.wait(), _REVOKE_WAIT_S)
        except TimeoutError:
            return False
        return True

    async def _work(self, producer: AIOKafkaProducer) -> None:
        while not self.should_stop:
            batch = await self._next()
            self._idle.clear()
            try:
                if batch:
                    batch += await self._company()
                    batch = [taken for taken in batch if taken[0] == self._epoch]
                if batch:
                    await self._do(producer, batch)
                if self._live is not None and (records := await self._live.sweep()):
                    await self._send(producer, records)
                self._batches_done += 1
            finally:
                self._idle.set()

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
        until = loop.time() + self._settings.batch_ms / 1e3
        batch: list[Any] = []
        while len(batch) < self._settings.max_batch - 1:
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
        if self._live is not None:
            await self._live.ready({source.partition for source in sources})
        outgoing = await asyncio.get_running_loop().run_in_executor(self._thread, self._outgoing, sources)
        await self._send(producer, outgoing)

    async def _send(self, producer: AIOKafkaProducer, outgoing: Sequence[Outgoing]) -> None:
        self._check_awake()
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
            if not (self._idle.is_set() and self._inbox.empty()):
                self._check_awake()
            self._awake_at_s = self._seconds()
            await asyncio.sleep(_TICK_S)

    def _check_awake(self) -> None:
        limit_s = 0.8 * self._clients.settings.session_timeout_ms / 1e3
        silent_s = self._seconds() - self._awake_at_s
        if silent_s > limit_s:
            msg = (
                f"{self._topics.catalog_items.name}: this process stood still for {silent_s:.1f} s, more than "
                f"{limit_s:.1f} s: the group may have given its partitions away; it must restart"
            )
            raise LaneError(msg)

    def _outgoing(self, sources: list[Source]) -> list[Outgoing]:
        """Decode and tokenize; runs in a thread. The order of the records of one key is kept."""
        outgoing: list[Outgoing | None] = [None] * len(sources)
        upserts: list[tuple[int, CatalogItem]] = []
        for place, source in enumerate(sources):
            if source.topic != self._topics.catalog_items.name:
                continue
            try:
                item = decode_catalog_item(source.key, source.value, source.timestamp, self._limits)
            except BadRecord as bad:
                outgoing[place] = self._bury(source, bad)
                continue
            if item is None:
                outgoing[place] = (self._topics.item_sids.name, source.key, None, [])
                self._metrics.tokenized_items.labels("removed").inc()
            else:
                upserts.append((place, item))
        for place, made in self._encoded(sources, upserts):
            outgoing[place] = made
        if self._live is not None:
            return self._live.through(sources, outgoing, self._bury)
        return [record for record in outgoing if record is not None]

    def _encoded(self, sources: list[Source], upserts: list[tuple[int, CatalogItem]]) -> list[tuple[int, Outgoing]]:
        offsets = [sources[place].offset for place, _ in upserts]
        try:
            values = item_sids(self._encoder, [item for _, item in upserts], offsets)
        except _ITEM_ERRORS as exc:
            if len(upserts) > 1:
                # One item spoils the batch: find it by halves, let the others through.
                half = len(upserts) // 2
                return self._encoded(sources, upserts[:half]) + self._encoded(sources, upserts[half:])
            place = upserts[0][0]
            return [(place, self._bury(sources[place], BadRecord(Reason.BAD_VALUE, str(exc))))]
        self._metrics.tokenized_items.labels("tokenized").inc(len(values))
        topic = self._topics.item_sids.name
        return [
            (place, (topic, item.item_id.encode(), value.to_json(), []))
            for (place, item), value in zip(upserts, values, strict=True)
        ]

    def _bury(self, source: SourceRecord, bad: BadRecord) -> Outgoing:
        self._metrics.dead_letters.labels(source.topic, bad.reason).inc()
        letter = dead_letter(source, bad)
        return letter.topic, letter.key, letter.value, letter.headers
