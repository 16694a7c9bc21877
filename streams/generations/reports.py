"""Publishes this worker's reports on generations: changes at once, and again every few seconds during a rollout."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka.errors import KafkaError
from mode import Service

from sidestream.models.records import GenerationReport
from sidestream.models.records.generations import Progress, partition_key, worker_key
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import LaneError, NotAcknowledged
from sidestream.streams.generations.control import ControlReader
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.producer import LastingProducer
from sidestream.streams.runtime.clock import WallClock
from sidestream.streams.runtime.logs.log import get_log

_log = get_log(__name__)

_TICK_S = 0.25
# Workers go on repeating their report for this long after the last order.
_ATTENTIVE_S = 60.0
# How long the withdrawal of a report may take at the worker's end.
_LAST_S = 1.0
_ORDER: tuple[Progress, ...] = ("refused", "loading", "filling", "ready")


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The state of one part of the worker with respect to the version that is to serve.

    Attributes:
        progress: The part's progress.
        serving: Version that the part serves now; `None` if it serves none.
        missing: Number of items that are served now and that the version lacks.
        detail: Why the part refuses the version.
    """

    progress: Progress
    serving: str | None = None
    missing: int = 0
    detail: str = ""


class Reporter(Service):
    """Publishes to `generation-reports.v1`.

    Args:
        clients: Kafka clients.
        topics: All topics.
        control: The orders.
        settings: Worker name and report interval.
        role: The worker's role.
        own_version: Version of the worker's own pair.
        wall_ms: Wall clock, UTC epoch milliseconds.
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
        own_version: str,
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
        self._own_version = own_version
        self._wall_ms = wall_ms or WallClock()
        self._seconds = seconds
        self._parts: list[Callable[[str], WorkerReport]] = []
        self._producer: LastingProducer | None = None

    def add_part(self, part: Callable[[str], WorkerReport]) -> None:
        """Add a part of the worker to the report.

        Args:
            part: Called with the version that is to serve; returns the part's state.
        """
        self._parts.append(part)

    async def on_start(self) -> None:
        """Open the producer and start to report."""
        producer = LastingProducer(self._clients, "generation reports", partition_of=lambda topic, key: 0)
        await self.wait(producer.start())
        self._producer = producer
        self.add_future(self._report_regularly())

    async def on_stop(self) -> None:
        """Withdraw this worker's report."""
        if self._producer is not None:
            await self._publish(None, _LAST_S)
            await self._producer.stop()

    async def report_partition(self, version: str, partition: int, progress: Progress | None) -> None:
        """Report whether the values of a catalogue partition contain a version; waits while Kafka is away.

        Args:
            version: Tokenizer version.
            partition: The partition.
            progress: Held or dropped; `None` withdraws the report when neither is certain any more.

        Raises:
            LaneError: The broker refused the report.
        """
        report = None
        if progress is not None:
            report = GenerationReport(version=version, partition=partition, progress=progress, at=self._wall_ms())
        try:
            await self._send(partition_key(version, partition), report)
        except KafkaError as exc:
            msg = f"{self._topic}: a report was refused ({exc!r}); check the topic and our rights"
            raise LaneError(msg) from exc

    def _current(self) -> GenerationReport:
        plan = self._control.orders.plan(self._own_version)
        version = plan.preparing or plan.active
        reports = [part(version) for part in self._parts]
        least = min(reports, key=lambda report: _ORDER.index(report.progress), default=WorkerReport("ready"))
        return GenerationReport(
            version=version,
            progress=least.progress,
            worker=self.worker,
            role=self._role,
            serving=next((report.serving for report in reports if report.serving is not None), None),
            missing=max((report.missing for report in reports), default=0),
            detail="; ".join(report.detail for report in reports if report.detail),
            at=0,
        )

    async def _report_regularly(self) -> None:
        published: GenerationReport | None = None
        orders: object = None
        published_s = attentive_s = -float("inf")
        while not self.should_stop:
            now_s, current = self._seconds(), self._current()
            if orders != self._control.orders.generations:
                orders, attentive_s = self._control.orders.generations, now_s + _ATTENTIVE_S
            is_attentive = self._control.orders.preparing is not None or now_s < attentive_s
            if current != published or (is_attentive and now_s >= published_s + self._settings.report_s):
                await self._publish(current.model_copy(update={"at": self._wall_ms()}))
                published, published_s = current, now_s
            await self.sleep(_TICK_S)

    async def _publish(self, report: GenerationReport | None, within_s: float | None = None) -> None:
        try:
            await self._send(worker_key(self.worker), report, within_s)
        except (NotAcknowledged, KafkaError) as exc:
            # Repeated at the next change or interval.
            _log.warning("report not sent", worker=self.worker, error=str(exc) or repr(exc))

    async def _send(self, key: str, report: GenerationReport | None, within_s: float | None = None) -> None:
        if self._producer is not None:
            value = None if report is None else report.to_json()
            await self._producer.send([(self._topic, key.encode(), value, [])], within_s=within_s)
