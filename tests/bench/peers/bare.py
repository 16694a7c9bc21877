"""A bare aiokafka loop for the same work: fetch, fold, changelog with its acks awaited, one RocksDB batch. No more.

No group, no check beyond reading the JSON, no dead letters, no metrics, no slices that leave others a turn, no commit.
It reads with the lane's fetch settings and works in batches of the lane's size, partition by partition, and awaits the
acks of one round of batches together. Python's own fastest way, by hand.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from aiokafka import AIOKafkaProducer, TopicPartition
from rocksdict import Cache, Rdict, WriteBatch

from sidestream.models.history import block_key, fold
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.restore.positions import FETCH_MIN_BYTES
from sidestream.streams.listens.settings import LaneSettings, TableSettings
from sidestream.streams.listens.table.database import make_options
from tests.bench.support.work import Meter, leave, lookup, peer_config, read


def fold_batch(db: Rdict, records: Sequence[Any], history_events: int) -> dict[bytes, bytes]:
    """Fold one batch of one partition."""
    of_user: dict[bytes, list[Any]] = {}
    for record in records:
        if (listen := read(record.value)) is not None:
            of_user.setdefault(record.key, []).append((record.offset, listen))
    users = list(of_user)
    states = cast(list[bytes | None], db.get(list(users))) if users else []
    values: dict[bytes, bytes] = {}
    for user, state in zip(users, states, strict=True):
        result = fold(state, of_user[user], lookup, history_events)
        for slot, block in result.blocks.items():
            values[block_key(user, slot)] = block
        values[user] = result.state
    return values


async def send(producer: AIOKafkaProducer, topic: str, partition: int, values: dict[bytes, bytes]) -> list[Any]:
    """Hand values over to the producer, whole batches at a time."""
    acks = []
    builder = producer.create_batch()
    for key, value in values.items():
        if builder.append(key=key, value=value, timestamp=None) is None:
            acks.append(await producer.send_batch(builder, topic, partition=partition))
            builder = producer.create_batch()
            builder.append(key=key, value=value, timestamp=None)
    if builder.record_count():
        acks.append(await producer.send_batch(builder, topic, partition=partition))
    return acks


def open_db(folder: Path, partition: int, settings: TableSettings, cache: Cache) -> Rdict:
    """Open one partition's database with the lane's options."""
    folder.mkdir(parents=True, exist_ok=True)
    return Rdict(str(folder / f"{partition}.db"), make_options(settings, cache))


async def main() -> None:
    """Drain the log."""
    config = peer_config()
    settings = LaneSettings(**config["lane"])
    clients = Clients(KafkaSettings(bootstrap=config["bootstrap"], kind=config["kind"]))
    tps = [TopicPartition(config["source"], number) for number in range(config["partitions"])]
    folder, cache = Path(config["data_dir"]), Cache(settings.table.block_cache_bytes)
    dbs = {tp.partition: open_db(folder, tp.partition, settings.table, cache) for tp in tps}
    producer = clients.async_producer(max_batch_bytes=settings.changelog_batch_bytes, max_request_bytes=4 << 20)
    await producer.start()
    consumer = clients.async_consumer(
        max_partition_fetch_bytes=settings.fetch_bytes,
        fetch_min_bytes=FETCH_MIN_BYTES,
        fetch_max_wait_ms=settings.batch_ms,
    )
    await consumer.start()
    consumer.assign(tps)
    await consumer.seek_to_beginning(*tps)
    meter, limit, is_done = Meter(config["listens"]), settings.max_batch_records, False
    meter.start()
    while not is_done:
        fetched = {tp.partition: records for tp, records in (await consumer.getmany(timeout_ms=200)).items()}
        while fetched:
            chunks = {partition: records[:limit] for partition, records in fetched.items()}
            folded = {p: fold_batch(dbs[p], records, settings.history_events) for p, records in chunks.items()}
            acks = [await send(producer, config["changelog"], p, values) for p, values in folded.items()]
            await asyncio.gather(*(ack for of_partition in acks for ack in of_partition))
            for partition, values in folded.items():
                batch = WriteBatch(raw_mode=True)
                for key, value in values.items():
                    batch.put(key, value)
                batch.put(b"", b"%d" % chunks[partition][-1].offset)
                dbs[partition].write(batch)
                is_done = meter.done(len(chunks[partition]))
            fetched = {partition: records[limit:] for partition, records in fetched.items() if len(records) > limit}
    leave(meter.report())


if __name__ == "__main__":
    asyncio.run(main())
