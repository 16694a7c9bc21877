"""The Faust app with its guard rails: every setting that keeps 0.15.3 from losing, hanging or starving is here.

Each rail with what it answers; numbers are issues of faust-streaming, "r" those of its ancestor, robinhood/faust:

* versions are pinned, and so are the sources of what is overridden (`tests/streams/group/faust_pins.py`)
* `stream_wait_empty=False`: hangs on rebalance and shutdown (r402)
* `broker_max_poll_records=500`: members thrown out while they work (r517, r402, #138)
* session 10 s, heartbeat 3 s, rebalance 30 s: a dead worker's partitions were stuck for up to 60 s
* `consumer_auto_offset_reset=earliest`: recovery that never ends after deleted segments (#651)
* agents with another `concurrency` than 1 are refused: offsets are committed past unprocessed events (#606, #707,
  r682), one hole blocks commits for ever (#596)
* the one agent only moves events, and acks them itself: an event whose agent raised is acked and lost (#315, r604)
* `processing_guarantee=at_least_once`: Faust's exactly-once loses and repeats (#47, #136, #177, #323, #440, #517, #658,
  r340)
* tables of every kind are refused, `store=memory`: recovery hangs (#21, #74, #176, r147, r218, r338), databases beyond
  their changelog (#158), 2 GiB of block cache per partition (#247, r169), global tables that recover for ever (#212,
  #283, r716), windows whose expiry is lost on restart (#193, #385, r44)
* `topic_allow_declare=False`, `topic_disable_leader=True`: topic creation on locked-down brokers (#667, r400)
* `table_standby_replicas=1`: with 0 and no tables Faust falls back to round-robin, which does not co-partition
* an assignor that is named after the lane's promise: workers with different promises must not share a group (`promise`)
* idempotence for Faust's own sends (`LaneTransport`): Faust switches it on for its exactly-once only
* the watchdog, which asks Kafka itself what waits: consumers that die in silence (#175, #523, #629, #640)
* loggers at INFO: with the root logger at DEBUG, Faust makes 2 log records for every send
"""

import logging
from pathlib import Path
from typing import Any, NoReturn

import aiokafka
import faust

from sidestream.streams.errors import SettingsError
from sidestream.streams.group.shared_guarantee import assignor_of
from sidestream.streams.group.transport import LaneTransport
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.durable.guarantee import choose_guarantee
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.runtime.lane_metrics import LaneMetrics

FAUST_VERSION = "0.15.3"
AIOKAFKA_VERSION = "0.14."


class GuardedApp(faust.App):
    """Faust's app without the parts that lose, repeat or hang."""

    logger = logging.getLogger("faust.app")  # it talks like the library that it is, not like us

    def agent(self, channel: Any = None, *, concurrency: int = 1, **options: Any) -> Any:
        """Make an agent; takes one event at a time.

        Args:
            channel: As Faust has it.
            concurrency: Only 1.
            **options: As Faust has them.

        Returns:
            Faust's decorator.

        Raises:
            SettingsError: Another concurrency.
        """
        if concurrency != 1:
            msg = (
                f"agent: expected concurrency 1, got {concurrency}: Faust commits past events that a sibling still "
                "works on (#606); add partitions and workers instead"
            )
            raise SettingsError(msg)
        return super().agent(channel, concurrency=concurrency, **options)

    def Table(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse.

        Args:
            *args: As Faust has them.
            **options: As Faust has them.

        Raises:
            SettingsError: Always.
        """
        del args, options
        msg = (
            "Table: Faust's tables double-apply after a crash and recover record by record; keep state in a lane with "
            "`sidestream.streams.listens.table.UserTable`"
        )
        raise SettingsError(msg)

    SetTable = GlobalTable = SetGlobalTable = Table


def make_faust_app(
    app_id: str, clients: Clients, settings: LaneSettings, data_dir: Path, metrics: LaneMetrics
) -> faust.App:
    """Make the app that owns membership, assignment and agents; lanes are added with `register`.

    Args:
        app_id: Name of the app and of its consumer group.
        clients: Factory of Kafka clients.
        settings: Settings of the lanes.
        data_dir: Folder of this worker.
        metrics: Counters of the lanes.

    Returns:
        The app, not started.

    Raises:
        SettingsError: Faust or aiokafka have another version than the one that the lanes were built on.
    """
    check_versions()
    for name in ("faust", "aiokafka", "mode"):
        logging.getLogger(name).setLevel(logging.INFO)
    data_dir.mkdir(parents=True, exist_ok=True)  # Faust makes only the last folder of a path
    app = GuardedApp(
        app_id,
        **clients.faust_options(),
        datadir=str(data_dir / "faust"),
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        broker_max_poll_records=500,
        broker_rebalance_timeout=settings.rebalance_timeout_ms / 1000,
        broker_commit_interval=settings.commit_interval_ms / 1000,
        table_standby_replicas=1,
        PartitionAssignor=assignor_of(choose_guarantee(settings, clients)),
        worker_redirect_stdouts=False,
    )
    transport = LaneTransport(app, clients.fetch_max_wait_ms, metrics)
    app.transport = transport
    app.producer_transport = transport
    return app


def check_versions() -> None:
    """Refuse to run on versions of Faust and aiokafka that the lanes were not built on.

    Raises:
        SettingsError: Another version is installed.
    """
    if faust.__version__ != FAUST_VERSION or not aiokafka.__version__.startswith(AIOKAFKA_VERSION):
        msg = (
            f"expected faust-streaming {FAUST_VERSION} and aiokafka {AIOKAFKA_VERSION}x, got {faust.__version__} and "
            f"{aiokafka.__version__}: the lanes rest on their internals; install the locked versions"
        )
        raise SettingsError(msg)
