"""Stock Faust as its guide says: an agent and a table in RocksDB, an app and a changelog of its own.

At its best settings: uvloop, loggers at INFO, a producer that waits 20 ms for company, RocksDB without its 2 GiB cache
for each partition, no leader, no standby, no web. Modes: `drain` reports once the log is folded and the changelog is
flushed, `restore` once the table is rebuilt, `sessions` answers session-starts from the table until killed.
"""

import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import Any

import faust
import uvloop
from faust.stores.rocksdb import Store
from faust.types.tables import TableT

from tests.bench.support.work import Meter, contents, fold_one, leave, peer_config, read

States = TableT[bytes, bytes]

TABLE = "states"
SMALL_ROCKSDB = {"driver": "rocksdict", "block_cache_size": 16 << 20, "write_buffer_size": 8 << 20}


def changelog_of(group: str) -> str:
    """Name the topic that Faust will publish the table to."""
    return f"{group}-{TABLE}-changelog"


def make_app(config: dict[str, Any]) -> tuple[faust.App, States]:
    """Build the app and its table."""
    for name in ("faust", "aiokafka", "mode"):
        logging.getLogger(name).setLevel(logging.INFO)
    data_dir = Path(config["data_dir"])
    data_dir.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        config["group"],
        broker=f"kafka://{config['bootstrap']}",
        datadir=str(data_dir),
        store="rocksdb://",
        autodiscover=False,
        web_enabled=False,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        producer_linger=0.02,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        worker_redirect_stdouts=False,
    )
    table = app.Table(
        TABLE,
        partitions=config["partitions"],
        key_type=bytes,
        value_type=bytes,
        recovery_buffer_size=5_000,
        options=dict(SMALL_ROCKSDB),
    )
    return app, table


def raw_topic(app: faust.App, name: str) -> Any:
    """Describe a topic of bytes."""
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def add_listens(app: faust.App, table: States, topic: str, meter: Meter) -> None:
    """Add the agent that folds listens."""

    @app.agent(raw_topic(app, topic))
    async def listens(stream: Any) -> None:
        async for event in stream.events():
            listen = read(event.value)
            if listen is not None:
                table[event.key] = fold_one(table.get(event.key), event.message.offset, listen)
            if meter.done():
                await app.producer.buffer.flush()
                await asyncio.sleep(0.05)  # the last one has left the buffer, but may not have reached the producer
                await app.producer.flush()
                leave(meter.report())

    @app.on_rebalance_complete.connect
    async def complete(*_args: Any, **_: Any) -> None:
        meter.start()


def report_restore(app: faust.App, table: States) -> None:
    """Report from the assignment to the end of the recovery."""
    began: list[float] = []

    @app.on_partitions_assigned.connect
    async def assigned(*args: Any, **_: Any) -> None:
        if args[-1]:
            began[:] = [time.perf_counter(), time.process_time()]

    @app.on_rebalance_complete.connect
    async def complete(*_args: Any, **_: Any) -> None:
        if not began:
            return
        wall_s, cpu_s = time.perf_counter() - began[0], time.process_time() - began[1]
        store = table.data
        if not isinstance(store, Store):
            raise TypeError(f"expected a table in RocksDB, got {store!r}")
        dbs = store._dbs.values()
        rows = ((bytes(key), bytes(value)) for db in dbs for key, value in db.items() if key != store.offset_key)
        leave({"cpu_s": cpu_s, "wall_s": wall_s, **contents(rows)})


def main() -> None:
    """Run until the report, or until killed."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    config, sys.argv[1:] = peer_config(), []
    app, table = make_app(config)
    if config["mode"] == "sessions":
        from tests.bench.peers.stock_sessions import add_sessions

        add_sessions(app, table, config)
    else:
        add_listens(app, table, config["source"], Meter(config["listens"]))
    if config["mode"] == "restore":
        report_restore(app, table)
    faust.Worker(app, loglevel="warn", loop=loop, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
