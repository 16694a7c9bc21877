"""Faust app with safe settings: everything that keeps Faust 0.15.3 from losing data, hanging or starving is set here.

Each setting with the problem it avoids; numbers are issues of faust-streaming, "r" those of its ancestor,
robinhood/faust:

* versions are pinned, and so are the sources of overridden code (`tests/streams/group/faust_pins.py`)
* `stream_wait_empty=False`: hangs on rebalance and shutdown (r402)
* `broker_max_poll_records=500`: members removed from the group while they work (r517, r402, #138)
* session 10 s, heartbeat 0.5 s, rebalance 30 s: a dead worker's partitions were unavailable for up to 60 s
* `consumer_auto_offset_reset=earliest`: recovery that never ends after deleted segments (#651)
* agents with `concurrency` other than 1 are rejected: offsets are committed past unprocessed events (#606, #707,
  r682), one gap blocks commits forever (#596)
* the only agent just moves events, and acks them itself: an event whose agent raised is acked and lost (#315, r604)
* `processing_guarantee=at_least_once`: Faust's exactly-once loses and duplicates events (#47, #136, #177, #323, #440,
  #517, #658, r340)
* tables of every kind are rejected, `store=memory`: recovery hangs (#21, #74, #176, r147, r218, r338), databases ahead
  of their changelog (#158), 2 GiB of block cache per partition (#247, r169), global tables that recover forever (#212,
  #283, r716), windows whose expiry is lost on restart (#193, #385, r44)
* `topic_allow_declare=False`, `topic_disable_leader=True`: topic creation on locked-down brokers (#667, r400)
* `table_standby_replicas=1`: with 0 and no tables Faust falls back to round-robin, which does not co-partition
* an assignor named after the lane's guarantee: workers with different guarantees must not share a group
  (`shared_guarantee`)
* idempotence for Faust's own sends (`LaneTransport`): Faust enables it only for its exactly-once
* the watchdog, which asks Kafka itself for pending records: consumers that die silently (#175, #523, #629, #640)
* loggers at INFO: with the root logger at DEBUG, Faust creates 2 log records for every send
"""

import logging
from pathlib import Path
from typing import Any, NoReturn

import aiokafka
import faust

from sidestream.streams.errors import SettingsError
from sidestream.streams.group.shared_guarantee import assignor_for
from sidestream.streams.group.transport import LaneTransport
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.durable.guarantee import choose_guarantee
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.runtime.lane_metrics import LaneMetrics

FAUST_VERSION = "0.15.3"
AIOKAFKA_VERSION = "0.14."


class GuardedApp(faust.App):
    """Faust app without the features that lose data, duplicate it or hang."""

    logger = logging.getLogger("faust.app")  # logs as the library, not as one of our modules

    def agent(self, channel: Any = None, *, concurrency: int = 1, **options: Any) -> Any:
        """Create an agent, which processes one event at a time.

        Args:
            channel: See `faust.App.agent`.
            concurrency: Must be 1.
            **options: See `faust.App.agent`.

        Returns:
            Faust's decorator.

        Raises:
            SettingsError: `concurrency` is not 1.
        """
        if concurrency != 1:
            msg = (
                f"agent: expected concurrency 1, got {concurrency}: Faust commits past events that another "
                "instance is still processing (#606); add partitions and workers instead"
            )
            raise SettingsError(msg)
        return super().agent(channel, concurrency=concurrency, **options)

    def Table(self, *args: Any, **options: Any) -> NoReturn:
        """Reject tables.

        Args:
            *args: Ignored.
            **options: Ignored.

        Raises:
            SettingsError: Always.
        """
        del args, options
        msg = (
            "Table: Faust's tables apply records twice after a crash and recover record by record; keep state in a "
            "lane with `sidestream.streams.listens.table.UserTable`"
        )
        raise SettingsError(msg)

    SetTable = GlobalTable = SetGlobalTable = Table


def make_faust_app(
    app_id: str,
    clients: Clients,
    settings: LaneSettings,
    data_dir: Path,
    metrics: LaneMetrics,
    instance_id: str | None = None,
) -> faust.App:
    """Create the app that handles group membership, assignment and agents; lanes are added with `register`.

    Args:
        app_id: Name of the app and of its consumer group.
        clients: Kafka client factory.
        settings: Settings of the lanes.
        data_dir: Data folder of this worker.
        metrics: Counters of the lanes.
        instance_id: This worker's id as a static member of its group; None for a dynamic member.

    Returns:
        The app, not started.

    Raises:
        SettingsError: The installed Faust or aiokafka is not the version that the lanes were built for.
    """
    check_versions()
    guarantee = choose_guarantee(settings, clients)
    for name in ("faust", "aiokafka", "mode"):
        logging.getLogger(name).setLevel(logging.INFO)
    data_dir.mkdir(parents=True, exist_ok=True)  # Faust creates only the last folder of a path
    app = GuardedApp(
        app_id,
        **clients.faust_options(),
        datadir=str(data_dir / "faust"),
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        consumer_group_instance_id=instance_id,
        broker_max_poll_records=500,
        broker_rebalance_timeout=settings.rebalance_timeout_ms / 1000,
        broker_commit_interval=settings.commit_interval_ms / 1000,
        table_standby_replicas=1,
        PartitionAssignor=assignor_for(guarantee),
        worker_redirect_stdouts=False,
    )
    transport = LaneTransport(app, clients, metrics, keeps_partitions=guarantee == "exactly_once")
    app.transport = transport
    app.producer_transport = transport
    return app


def check_versions() -> None:
    """Raise if Faust or aiokafka are not the versions that the lanes were built for.

    Raises:
        SettingsError: Another version is installed.
    """
    if faust.__version__ != FAUST_VERSION or not aiokafka.__version__.startswith(AIOKAFKA_VERSION):
        msg = (
            f"expected faust-streaming {FAUST_VERSION} and aiokafka {AIOKAFKA_VERSION}x, got {faust.__version__} and "
            f"{aiokafka.__version__}: the lanes depend on their internals; install the locked versions"
        )
        raise SettingsError(msg)
