"""Listens at an even rate and a catalogue that changes all the time, from a process of its own, until killed."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from sidestream.streams.kafka.clients import Clients, KafkaSettings
from tests.bench.peers.progress import note_progress, num_done
from tests.bench.support.rig import partition_of
from tests.bench.support.work import NUM_ITEMS, peer_config

TICK_S = 0.05
BATCH_BYTES = 524_288


def listens(seed: str, users: int, partitions: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Make up partition, key and value without end; a few listeners have most of the listens.

    Event ids hold the seed, so that sources of different seeds never repeat one another's events.
    """
    rng = random.Random(seed)
    keys = [b"user-%d" % number for number in range(users)]
    partition = [partition_of(key, partitions) for key in keys]
    for number in itertools.count():
        user = int(users * rng.random() ** 2)
        item = int(NUM_ITEMS * rng.random() ** 2)
        value = (
            b'{"event_id":"%s-%d","user_id":"user-%d","item_id":"item-%d","at":%d,"listened_ms":%d,'
            b'"duration_ms":240000,"signal":"listen"}'
        ) % (seed.encode(), number, user, item, time.time_ns() // 1_000_000, number % 240_000)
        yield partition[user], keys[user], value


def catalogue_change(rng: random.Random, number: int, items: int) -> tuple[bytes, bytes | None]:
    """Make up a change: mostly a new title; one in four removes an item, or brings it back."""
    name = f"item-{rng.randrange(items)}"
    if number % 4 == 3:
        return name.encode(), None
    item = {"item_id": name, "kind": "track", "title": f"Title {number}", "at": time.time_ns() // 1_000_000}
    return name.encode(), json.dumps(item).encode()


async def publish(producer: AIOKafkaProducer, topic: str, records: list[list[tuple[bytes, bytes]]]) -> None:
    """Publish the records of one tick, in few batches."""
    acks = []
    for partition, of_partition in enumerate(records):
        builder = producer.create_batch()
        for key, value in of_partition:
            if builder.append(key=key, value=value, timestamp=None) is None:
                acks.append(await producer.send_batch(builder, topic, partition=partition))
                builder = producer.create_batch()
                builder.append(key=key, value=value, timestamp=None)
        if builder.record_count():
            acks.append(await producer.send_batch(builder, topic, partition=partition))
    await asyncio.gather(*acks)


async def run(config: dict[str, Any]) -> None:
    """Send for ever; a tick that comes late sends what is due by then.

    With `lead` what is sent is never further ahead of what `done` notes than that, so that retention removes nothing
    that is not folded.
    """
    clients = Clients(KafkaSettings(bootstrap=config["bootstrap"], kind=config["kind"]))
    producer = clients.async_producer(max_batch_bytes=BATCH_BYTES)
    await producer.start()
    made = listens(config["seed"], config["users"], config["partitions"])
    rng, began_s = random.Random(config["seed"]), time.monotonic()
    sent = published = changes = 0
    note_progress(Path(config["progress"]), lambda: published)
    while True:
        spent_s = time.monotonic() - began_s
        due = int(spent_s * config["per_s"]) - sent
        if "lead" in config:
            due = max(0, min(due, num_done(Path(config["done"])) + config["lead"] - sent))
        records: list[list[tuple[bytes, bytes]]] = [[] for _ in range(config["partitions"])]
        for partition, key, value in itertools.islice(made, due):
            records[partition].append((key, value))
        sent += due
        await publish(producer, config["listens"], records)
        published = sent
        while changes < spent_s * config["changes_per_s"]:
            key, change = catalogue_change(rng, changes, config["items"])
            await producer.send(config["catalogue"], change, key=key)
            changes += 1
        await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    asyncio.run(run(peer_config()))
