"""Publishes what this worker says of generations: changes at once, and again every few seconds during a rollout."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from mode import Service

from sidestream.models.records import GenerationReport
from sidestream.models.records.generations import Progress, partition_key, worker_key
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import LaneError
from sidestream.streams.generations.control import ControlReader
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.clock import WallClock
from sidestream.streams.runtime.logs.log import get_log

_log = get_log(__name__)

_TICK_S = 0.25
# For so long after the last order workers keep telling how they are.
_ATTENTIVE_S = 60.0
_ORDER: tuple[Progress, ...] = ("refused", "loading", "filling", "ready")


@dataclass(frozen=True, slots=True)
class Standing:
    """What a part of the worker says of the version that is to serve.

    Attributes:
        progress: How far it is.
        serving: Version that it serves now; none where it serves none.
        missing: Items served now that the version lacks.
        detail: Why it refuses.
    """

    progress: Progress
    serving: str | None = None
    missing: int = 0
    detail: str = ""


class Reporter(Service):
    """The worker's voice on `generation-reports.v1`.

    Args:
        clients: The Kafka.
        topics: All topics.
        control: The orders.
        settings: Name and pace.
        role: Of the worker.
        home: Version of its own pair.
        wall_ms: UTC epoch milliseconds.
        seconds: Monotonic clock in seconds.

    Attributes:
        worker: This worker's name.
    """

    mundane_level = "debug"

    def __init__(
        self,
        clients: Clients,
        topics: Topics,
        control: ControlReader,
        settings: GenerationSettings,
        role: str,
        home: str,
        wall_ms: Callable[[], int] | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.worker = settings.worker_name or f"{socket.gethostname()[:100]}-{os.getpid()}"
        self._clients = clients
        self._topic = topics.generation_reports.name
        self._control = control
        self._settings = settings
        self._role = role
        self._home = home
        self._wall_ms = wall_ms or WallClock()
        self._seconds = seconds
        self._parts: list[Callable[[str], Standing]] = []
        self._producer: AIOKafkaProducer | None = None

    def ask(self, part: Callable[[str], Standing]) -> None:
        """Have a part of the worker asked for its standing.

        Args:
            part: Called with the version that is to serve.
        """
        self._parts.append(part)

    async def on_start(self) -> None:
        """Open the producer and begin to report."""
        producer = self._clients.async_producer()
        await producer.start()
        self._producer = producer
        self.add_future(self._report())

    async def on_stop(self) -> None:
        """Take this worker's word back."""
        if self._producer is not None:
            await self._say(None)
            await self._producer.stop()

    async def partition_is(self, version: str, partition: int, progress: Progress | None) -> None:
        """Say what the values of a catalogue partition have come to.

        Args:
            version: Tokenizer version.
            partition: Which.
            progress: Held, dropped, or none where neither is sure any more.

        Raises:
            LaneError: Kafka did not take it.
        """
        report = None
        if progress is not None:
            report = GenerationReport(version=version, partition=partition, progress=progress, at=self._wall_ms())
        try:
            await self._send(partition_key(version, partition), report)
        except KafkaError as exc:
            msg = f"{self._topic}: a report was not acknowledged ({exc!r}); check the broker, then restart the worker"
            raise LaneError(msg) from exc

    def _standing(self) -> GenerationReport:
        plan = self._control.orders.plan(self._home)
        version = plan.preparing or plan.active
        standings = [part(version) for part in self._parts]
        least = min(standings, key=lambda standing: _ORDER.index(standing.progress), default=Standing("ready"))
        return GenerationReport(
            version=version,
            progress=least.progress,
            worker=self.worker,
            role=self._role,
            serving=next((standing.serving for standing in standings if standing.serving is not None), None),
            missing=max((standing.missing for standing in standings), default=0),
            detail="; ".join(standing.detail for standing in standings if standing.detail),
            at=0,
        )

    async def _report(self) -> None:
        told: GenerationReport | None = None
        orders: object = None
        told_s = attentive_s = -float("inf")
        while not self.should_stop:
            now_s, standing = self._seconds(), self._standing()
            if orders != self._control.orders.generations:
                orders, attentive_s = self._control.orders.generations, now_s + _ATTENTIVE_S
            is_attentive = self._control.orders.preparing is not None or now_s < attentive_s
            if standing != told or (is_attentive and now_s >= told_s + self._settings.report_s):
                await self._say(standing.model_copy(update={"at": self._wall_ms()}))
                told, told_s = standing, now_s
            await self.sleep(_TICK_S)

    async def _say(self, report: GenerationReport | None) -> None:
        try:
            await self._send(worker_key(self.worker), report)
        except KafkaError as exc:
            # Said again at the next change or beat.
            _log.warning("report not sent", worker=self.worker, error=repr(exc))

    async def _send(self, key: str, report: GenerationReport | None) -> None:
        if self._producer is not None:
            value = None if report is None else report.to_json()
            await self._producer.send_and_wait(self._topic, value, key.encode(), partition=0)
