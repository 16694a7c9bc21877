"""The Faust app with its guard rails: every setting that keeps 0.15.3 from losing, hanging or starving is here.

| setting | answers |
|---|---|
| pinned versions | the lanes override internals of exactly these |
| `stream_wait_empty=False` | hangs on rebalance and shutdown (robinhood #402) |
| `broker_max_poll_records=500` | members thrown out while they work (robinhood #517) |
| session 10 s, heartbeat 3 s, rebalance 30 s | a dead worker's partitions were stuck for up to 60 s |
| `consumer_auto_offset_reset=earliest` | recovery that never ends after deleted segments (#651) |
| agents keep `concurrency=1` | offsets committed past unprocessed events (#606) |
| `topic_allow_declare=False`, `topic_disable_leader=True` | topic creation on locked-down brokers (#667) |
| `table_standby_replicas=1` | with 0 and no tables Faust falls back to round-robin, which does not co-partition |
| no tables, `store=memory` | RocksDB options, recovery and exactly-once of Faust are not used at all |
| loggers at INFO | with the root logger at DEBUG, Faust makes 2 log records for every send |
"""

import logging
from pathlib import Path

import aiokafka
import faust

from streams.connect import Clients
from streams.errors import SettingsError
from streams.lane.metrics import LaneMetrics
from streams.lane.settings import LaneSettings
from streams.lane.transport import LaneTransport

FAUST_VERSION = "0.15.3"
AIOKAFKA_VERSION = "0.14."


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
    app = faust.App(
        app_id,
        **clients.faust_options(),
        datadir=str(data_dir / "faust"),
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        stream_wait_empty=False,
        broker_max_poll_records=500,
        broker_rebalance_timeout=settings.rebalance_timeout_ms / 1000,
        broker_commit_interval=settings.commit_interval_ms / 1000,
        table_standby_replicas=1,
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
