"""Faust transport with lanes: Faust assigns their partitions and commits their offsets, but never reads them.

Overrides and their reasons (line numbers are those of faust-streaming 0.15.3):

* `ConsumerRebalanceListener.on_partitions_assigned` (drivers/aiokafka.py 201), in the consumer's thread: pauses lane
  partitions in aiokafka before the first fetch.
* `Consumer.on_partitions_assigned`/`on_partitions_revoked` (consumer.py 641): notify the lanes. On revoke all finished
  work is committed, while the group still accepts it. Where the broker fences former owners (`keeps_partitions`), the
  lanes go on during the rebalance, as with KIP-429, and give up what the new assignment takes from them; otherwise
  they stop on revoke.
* `Consumer._watch_group`, ours: handles the errors that aiokafka stores for a caller that Faust is not (`GroupClient`),
  and asks for a rebalance once partitions that are coming (`distribution`) can be taken over.
* `Consumer._filter_committable_offsets` (consumer.py 1009): adds the lanes' finished offsets to Faust's own commit.
* `Consumer._getmany` (consumer.py 1432): drops stray lane records, should aiokafka deliver any.
* `Consumer.verify_event_path`: Faust's livelock detector must ignore partitions that Faust does not read.
* `Service.wait_first` (mode/services.py 758), which `Consumer._drain_messages` (consumer.py 1170) calls for every
  message: hands it over without the four tasks that Faust creates for each, if nothing blocks.
* `Producer._settings_extra`: idempotence for Faust's own sends.
* `AIOKafkaConsumerThread._create_worker_consumer`: the fetch wait, which Faust fixes at 1.5 s; the isolation level, as
  Faust shows records of open and aborted transactions; the rack, for which Faust has no setting; and unreadable
  records (`sidestream.streams.kafka.records`), which would end the worker.
"""

import asyncio
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, cast

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import Service, WaitResults

from sidestream.streams.errors import SidestreamError
from sidestream.streams.group.assignor import LaneAssignor
from sidestream.streams.group.group_client import GroupClient
from sidestream.streams.group.steps import resumed
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.records.mended import mend_aiokafka
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.lane_protocol import HeldTables, PartitionLane

# How often to check whether the group client has stored an error, and whether coming partitions can be taken over.
_GROUP_CHECK_S = 0.5
# Coming partitions are taken over together; after so long, those whose tables are current do not wait for the others.
_COMING_S = 60.0
# Messages handed over without yielding to the event loop; one takes some 50 µs.
_MAX_AT_ONCE = 16


class _Listener(driver.ConsumerRebalanceListener):
    """Pauses lane partitions as soon as they are assigned."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pause the lane partitions, then continue with Faust's own handling."""
        assigned = list(assigned)
        transport = cast("LaneTransport", self._thread.transport)
        mine = [tp for tp in assigned if tp.topic in transport.lanes]
        if mine:
            self._thread._ensure_consumer().pause(*mine)
        await super().on_partitions_assigned(assigned)


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with our fetch wait, isolation level, rack, and tolerance of unreadable records."""

    mundane_level = "debug"

    group_client: GroupClient | None = None

    async def on_start(self) -> None:
        """Start the consumer and watch its group client."""
        await super().on_start()
        conf, coordinator = self.app.conf, self._ensure_consumer()._coordinator
        self.group_client = GroupClient(
            coordinator, conf.id, conf.consumer_group_instance_id, conf.broker_session_timeout
        )

    @property
    def is_member(self) -> bool:
        """Whether the group counts this worker as a member, as far as is known."""
        return self.group_client is not None and self.group_client.is_member

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        ours = cast("LaneTransport", transport)
        mend_aiokafka()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = ours.clients.fetch_max_wait_ms
        consumer._isolation_level = "read_committed"
        consumer._client_rack = ours.clients.settings.client_rack
        return consumer


class _Consumer(driver.Consumer):
    """Faust's consumer with lanes in addition to its streams."""

    mundane_level = "debug"

    RebalanceListener = _Listener
    transport: "LaneTransport"
    # Partitions of each lane by topic. None between revoke and assign: the lanes' committable offsets then belong to
    # partitions that another worker may own by now.
    _lane_partitions: dict[str, set[int]] | None = None
    # Partitions that the lanes work on, also during a rebalance; None while they are stopped.
    _running: dict[str, set[int]] | None = None
    _generation = _asked_in = -1
    _assigned_s = 0.0
    is_rebalancing = False
    _num_at_once = 0

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Let Faust take its partitions, then assign the lanes theirs."""
        await super().on_partitions_assigned(assigned, generation_id)
        if self.app.should_stop:
            return
        lanes = self.transport.lanes
        partitions = {topic: {tp.partition for tp in assigned if tp.topic == topic} for topic in lanes}
        if generation_id not in (self._generation, self._generation + 1):
            # In a generation that this worker missed, its partitions had other owners.
            await self._stop_lanes()
        # A broker gives a member the same generation again that joins with nothing new to say, for instance because
        # what it asked a rebalance for is gone by then: it may ask again.
        self._asked_in = -1
        self._generation, self._running, self.is_rebalancing = generation_id, partitions, False
        self._assigned_s = self.app.loop.time()
        try:
            # Last registered first, as they stop: sessions give up a partition before its tables are closed.
            for topic, lane in reversed(lanes.items()):
                await lane.on_assigned(partitions[topic])
        except SidestreamError as exc:
            await self.app.crash(exc)
        else:
            self._lane_partitions = partitions

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit the finished work of the lanes, stop them if they must, and let Faust release the partitions."""
        self.is_rebalancing = True
        if not self._goes_on:
            await self._stop_lanes()
        if self._lane_partitions is not None:
            if not self.app.crashed:  # a fenced worker's commit would wait for a group that has removed it
                await self.commit()
            self._lane_partitions = None
        await super().on_partitions_revoked(revoked)

    @Service.task
    async def _watch_group(self) -> None:
        """Handle the errors of joining the group."""
        outage = self.transport.clients.outages.of("group")
        while not self.should_stop:
            thread = cast(_ConsumerThread, self._thread)
            if (client := thread.group_client) is not None:
                if (reason := client.failure(cast(LaneAssignor, self.app.assignor).name)) is not None:
                    await self.app.crash(reason)
                    return
                if (error := client.passing_error) is None:
                    outage.end()
                else:
                    outage.begin(error)
                    thread.thread_loop.call_soon_threadsafe(client.join_again)
                if self._asks_for_rebalance():
                    thread.thread_loop.call_soon_threadsafe(client.request_rebalance)
            await self.sleep(_GROUP_CHECK_S)

    def _asks_for_rebalance(self) -> bool:
        """Tell, once in each generation, whether this worker can take over what is coming."""
        if self.is_rebalancing or self._asked_in == self._generation:
            return False
        waits = self.app.loop.time() < self._assigned_s + _COMING_S
        if not cast(LaneAssignor, self.app.assignor).has_arrived(all_of_them=waits):
            return False
        self._asked_in = self._generation
        return True

    async def on_stop(self) -> None:
        """Stop the lanes before Faust's last commit."""
        await self._stop_lanes()
        await super().on_stop()

    @property
    def _goes_on(self) -> bool:
        """Whether the lanes go on during a rebalance: not once the group has removed this worker."""
        return self.transport.keeps_partitions and cast(_ConsumerThread, self._thread).is_member

    async def _stop_lanes(self) -> None:
        partitions, self._running = self._running, None
        if partitions is None:
            return
        try:
            # Last registered first: sessions read the tables of the listen lane, so they must stop before it.
            for topic, lane in reversed(self.transport.lanes.items()):
                await lane.on_revoked(partitions[topic])
        except SidestreamError as exc:
            await self.app.crash(exc)

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        offsets: dict[TP, int] = super()._filter_committable_offsets(tps)
        if self._lane_partitions is not None:
            for topic, lane in self.transport.lanes.items():
                for partition, offset in lane.committable().items():
                    tp = TP(topic, partition)
                    # Faust commits higher offsets only: not those of a topic that was made again.
                    if offset != self._committed_offset[tp]:
                        offsets[tp] = offset
        return offsets

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's own
        records = dict(await super()._getmany(active_partitions, timeout))
        for tp in [tp for tp in records if tp.topic in self.transport.lanes]:
            self.transport.metrics.stray(len(records.pop(tp)))
        return records

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:  # noqa: ASYNC109 - Faust's own
        """Run the first step of handing a message to its stream here; Faust awaits the rest, if any."""
        if timeout is None and len(coros) == 2 and all(inspect.iscoroutine(coro) for coro in coros):
            handing, suspension = coros
            try:
                waits_for = handing.send(None)
            except StopIteration as done:
                suspension.close()
                self._num_at_once = (self._num_at_once + 1) % _MAX_AT_ONCE
                if not self._num_at_once:
                    await asyncio.sleep(0)
                return WaitResults([handing], [done.value], self.should_stop)
            except BaseException:
                suspension.close()
                raise
            coros = (resumed(handing, waits_for), suspension)
        return await super().wait_first(*coros, timeout=timeout)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Check only partitions that Faust itself reads."""
        if tp.topic not in self.transport.lanes:
            super().verify_event_path(now, tp)


class _Producer(driver.Producer):
    """Faust's producer, idempotent."""

    mundane_level = "debug"

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class LaneTransport(driver.Transport):
    """Faust's aiokafka transport with lanes.

    Args:
        app: App of the transport.
        clients: Kafka client factory.
        metrics: Counts stray records.
        keeps_partitions: Whether the lanes go on during rebalances: the next owner of a partition must fence them.
    """

    Consumer = _Consumer
    Producer = _Producer

    def __init__(self, app: faust.App, clients: Clients, metrics: LaneMetrics, keeps_partitions: bool = False) -> None:
        super().__init__(app.conf.broker_consumer, app)
        self.clients = clients
        self.metrics = metrics
        self.keeps_partitions = keeps_partitions
        self.lanes: dict[str, PartitionLane] = {}

    def held_tables(self) -> Mapping[str, HeldTables]:
        """Return what the lanes hold, by source topic; nothing where every rebalance stops all lanes."""
        if not self.keeps_partitions:
            return {}
        return {topic: held for topic, lane in self.lanes.items() if (held := lane.held_tables()) is not None}
