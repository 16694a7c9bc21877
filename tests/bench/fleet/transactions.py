"""Publishes a made-up changelog: in transactions as the lane does, or in the same batches without any."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from aiokafka import AIOKafkaProducer

from sidestream.streams.kafka.clients import Clients
from tests.bench.fleet.changelog import Changelog, Transaction

_BATCH_BYTES = 524_288
_AT_ONCE = 500


async def publish_transactions(clients: Clients, topic: str, changelog: Changelog) -> None:
    """Publish with markers and aborted records.

    One transaction spans all partitions, to make it in seconds: what each partition gets (a batch, then a marker) is
    the same as of a transaction of its own.

    Args:
        clients: Of the broker.
        topic: The changelog's topic.
        changelog: What to publish.
    """
    producer = clients.async_producer(
        transactional_id=topic, max_batch_bytes=_BATCH_BYTES, max_request_bytes=8 << 20, retry_backoff_ms=2
    )
    await producer.start()
    try:
        for row in zip_longest(*changelog.log):
            for is_aborted in (True, False):
                chosen = [(p, one) for p, one in enumerate(row) if one is not None and one.is_aborted == is_aborted]
                if chosen:
                    await _transaction(producer, topic, chosen, is_aborted)
    finally:
        await producer.stop()


async def publish_plain(clients: Clients, topic: str, changelog: Changelog) -> None:
    """Publish the committed records in the same batches, without transactions.

    Args:
        clients: Of the broker.
        topic: The changelog's topic.
        changelog: What to publish.
    """
    producer = clients.async_producer(max_batch_bytes=_BATCH_BYTES, max_request_bytes=8 << 20)
    await producer.start()
    try:
        acks: list[Any] = []
        for row in zip_longest(*changelog.log):
            acks += [
                await _send(producer, topic, partition, one)
                for partition, one in enumerate(row)
                if one is not None and not one.is_aborted
            ]
            if len(acks) > _AT_ONCE:
                for ack in acks:
                    await ack
                acks.clear()
        for ack in acks:
            await ack
    finally:
        await producer.stop()


async def _transaction(
    producer: AIOKafkaProducer, topic: str, chosen: Sequence[tuple[int, Transaction]], is_aborted: bool
) -> None:
    await producer.begin_transaction()
    for ack in [await _send(producer, topic, partition, one) for partition, one in chosen]:
        await ack
    if is_aborted:
        await producer.abort_transaction()
    else:
        await producer.commit_transaction()


async def _send(producer: AIOKafkaProducer, topic: str, partition: int, transaction: Transaction) -> Any:
    builder = producer.create_batch()
    for key, value in transaction.values.items():
        if builder.append(key=key, value=value, timestamp=None) is None:
            raise RuntimeError(f"a transaction of {len(transaction.values)} records does not fit {_BATCH_BYTES} bytes")
    return await producer.send_batch(builder, topic, partition=partition)
