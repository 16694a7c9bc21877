"""What the demo runs: a broker with topics of its own, and one worker whose state is made anew."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sidestream.streams.broker import RunningBroker, start_broker
from sidestream.streams.broker.probe import free_ports
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, create_topics
from sidestream.streams.demo.place import KAFKA
from sidestream.streams.demo.printing.screen import Screen
from sidestream.streams.errors import SidestreamError
from sidestream.streams.settings import Settings, flags_of, given_secrets
from sidestream.streams.worker.process import WorkerProcess

POLL_S = 0.05
_ITEMS_METRIC = "sidestream_catalogue_items "
# Later passes play the log at later dates; in half an hour of playing on they lie in the future.
_MAX_FUTURE_MS = 100 * 366 * 86_400_000
_BROKERS = {
    "kafka": "Apache Kafka, started here",
    "embedded": "embedded librdkafka broker (a stand-in: no compaction, no isolation)",
    "external": "the given Kafka",
}


def demo_topics(settings: Settings) -> TopicSettings:
    """Name the demo's topics: on a given Kafka it must not meet anybody's, nor those of an earlier demo.

    Args:
        settings: All settings.

    Returns:
        Names and limits.
    """
    change: dict[str, Any] = {"max_future_ms": _MAX_FUTURE_MS}
    if settings.kafka.bootstrap:
        change["prefix"] = f"demo-{time.time_ns() // 1_000_000}."
    return settings.topics.model_copy(update=change)


@contextmanager
def running_broker(settings: Settings, topics: TopicSettings, place: Path, screen: Screen) -> Iterator[RunningBroker]:
    """Have a broker, with the demo's topics on it.

    Args:
        settings: All settings.
        topics: The demo's topics.
        place: Folder of the demo.
        screen: Where people read.

    Yields:
        The broker.
    """
    if not settings.kafka.bootstrap:
        screen.say("starting a broker …")
        shutil.rmtree(place / KAFKA, ignore_errors=True)
    # On a busy machine a JVM has taken 25 s; one that ends is noticed at once, whatever the limit.
    start_timeout_s = max(settings.broker.start_timeout_s, settings.demo.ready_wait_s)
    change = {"data_dir": place / KAFKA, "port": 0, "start_timeout_s": start_timeout_s}
    broker = start_broker(settings.broker.model_copy(update=change), settings.kafka)
    try:
        if broker.note:
            screen.say(broker.note, "yellow")
        screen.say(f"broker: {_BROKERS[broker.kind]} at {broker.bootstrap}")
        admin = broker.topic_admin()
        made = create_topics(admin, build_topics(topics), topics.replication_factor)
        if broker.embedded is None:
            admin.close()
        named = f", names begin with {topics.prefix}" if topics.prefix else ""
        screen.say(f"topics: {len(made)} created{named}")
        yield broker
    finally:
        broker.stop()


def worker_flags(
    settings: Settings, broker: RunningBroker, topics: TopicSettings, place: Path, pair: Path
) -> dict[str, Any]:
    """Return the settings of the demo's worker, and of all who talk with it.

    Args:
        settings: All settings.
        broker: The running broker.
        topics: The demo's topics.
        place: Folder of the demo.
        pair: Artifacts that serve.

    Returns:
        Values by dotted name.
    """
    app_id = f"{topics.prefix}worker" if settings.kafka.bootstrap else settings.worker.app_id
    return {
        **flags_of(broker.kafka, "kafka."),
        **flags_of(topics, "topics."),
        "worker.app_id": app_id,
        # The log is from another time: items expire and are new by its clock.
        "worker.clock": "log",
        # Every session-start counts for the verdict, however slow the machine.
        "session.max_age_ms": 0,
        "web.port": free_ports(1)[0],
        "data_dir": str(place / "state"),
        "artifacts": str(pair.resolve()),
    }


def shareable(flags: dict[str, Any]) -> dict[str, Any]:
    """Leave out what must not be written to a file: secrets, and values that are not set.

    Args:
        flags: Values by dotted name.

    Returns:
        The others.
    """
    secrets = set(given_secrets(flags))
    return {name: value for name, value in flags.items() if name not in secrets and value is not None}


@contextmanager
def running_worker(flags: dict[str, Any], place: Path, wait_s: float, screen: Screen) -> Iterator[WorkerProcess]:
    """Have a ready worker.

    Args:
        flags: Its settings.
        place: Folder of the demo.
        wait_s: Give up after so long without progress.
        screen: Where people read.

    Yields:
        The worker.

    Raises:
        SidestreamError: It ended, or does not get ready.
    """
    shutil.rmtree(place / "state", ignore_errors=True)
    log = place / "worker.log"
    log.unlink(missing_ok=True)
    screen.say("starting a worker …")
    with WorkerProcess(flags, log) as worker:
        worker.wait_ready(wait_s)
        screen.say(f"worker: ready at {worker.url} (log: {log})")
        yield worker


class CatalogueWatch:
    """Tells whether the worker knows enough items, and gives up where no more are coming.

    Args:
        worker: The worker.
        quiet_s: Give up after so long without a new item.
    """

    def __init__(self, worker: WorkerProcess, quiet_s: float) -> None:
        self._worker = worker
        self._quiet_s = quiet_s
        self._most = -1
        self._deadline = 0.0

    def knows(self, num_items: int) -> bool:
        """Look once.

        Args:
            num_items: How many it should know.

        Returns:
            Whether it does.

        Raises:
            SidestreamError: It ended, or learns no more.
        """
        known = self._num_known()
        if known >= num_items:
            return True
        self._worker.require_running()
        if known > self._most:
            self._most, self._deadline = known, time.monotonic() + self._quiet_s
        elif time.monotonic() > self._deadline:
            msg = (
                f"worker knows {known:,} of {num_items:,} items, and no more came for {self._quiet_s:.0f} s "
                f"(log: {self._worker.log_file})"
            )
            raise SidestreamError(msg)
        return False

    def _num_known(self) -> int:
        _, text = self._worker.get("/metrics")
        for line in str(text or "").splitlines():
            if line.startswith(_ITEMS_METRIC):
                return int(float(line.split()[1]))
        return 0
