"""The least that a restore can be: the records of a changelog, read committed by librdkafka, into the lane's RocksDB.

No group, no position of a table, no check of a topic or a record, no progress. librdkafka takes a fifth less CPU than
aiokafka on uvloop (5.4 and 6.6 µs a record), without checksums, with the lane's size of a fetch; garbage collection is
off. The last value of each key of 5,000 records is written in one batch without the write-ahead log, and everything is
flushed at the end. Python's own fastest way, by hand.
"""

import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from confluent_kafka import Consumer, TopicPartition
from rocksdict import Cache, Rdict, WriteBatch, WriteOptions

from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.database import make_options
from tests.bench.support.work import contents, leave, peer_config

PARTITION_FETCH_BYTES = 1_048_576


class KeyedRecord(Protocol):
    """A message of a changelog: unlike messages at large, it has a partition and a key."""

    def partition(self) -> int: ...
    def key(self) -> bytes: ...
    def value(self) -> bytes | None: ...


def make_consumer(bootstrap: str) -> Consumer:
    """Make the reader."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "floor",  # required, and never joined
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "check.crcs": False,
            "fetch.message.max.bytes": PARTITION_FETCH_BYTES,
            "queued.min.messages": 1_000_000,
        }
    )


def write(db: Rdict, values: dict[bytes, bytes | None], options: WriteOptions) -> None:
    """Write values in one batch."""
    batch = WriteBatch(raw_mode=True)
    for key, value in values.items():
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
    db.write(batch, options)


def main() -> None:
    """Restore all partitions, then report."""
    config = peer_config()
    settings, folder = LaneSettings(**config["lane"]), Path(config["data_dir"])
    folder.mkdir(parents=True)
    gc.disable()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    cache = Cache(settings.table.block_cache_bytes)
    dbs = {n: Rdict(str(folder / f"{n}.db"), make_options(settings.table, cache)) for n in range(config["partitions"])}
    unlogged = WriteOptions()
    unlogged.disable_wal = True  # type: ignore[method-assign, assignment]
    consumer = make_consumer(config["bootstrap"])
    places = [TopicPartition(config["changelog"], number, 0) for number in dbs]
    ends = {place.partition: consumer.get_watermark_offsets(place)[1] for place in places}
    consumer.assign(places)
    count = 0
    # librdkafka's position is behind the last record that it handed over: the number of records is known instead.
    while count < config["records"]:
        values: dict[int, dict[bytes, bytes | None]] = {}
        messages = cast(Sequence[KeyedRecord], consumer.consume(settings.restore_batch_records, 0.05))
        for message in messages:
            values.setdefault(message.partition(), {})[message.key()] = message.value()
        count += len(messages)
        for partition, of_partition in values.items():
            write(dbs[partition], of_partition, unlogged)
    for db in dbs.values():
        db.flush()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    if any(not end for end in ends.values()):
        raise RuntimeError(f"expected records in every partition, got {ends}")
    rows = (cast(tuple[bytes, bytes], row) for db in dbs.values() for row in db.items())
    leave({"records": count, "cpu_s": cpu_s, "wall_s": wall_s, **contents(rows)})


if __name__ == "__main__":
    main()
