"""Producers that do what other programs do: any codec, header names that are no text, and the client of librdkafka."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from confluent_kafka import KafkaError, Producer
from kafka import KafkaProducer

Headers = list[tuple[str, bytes | None]]
Row = tuple[bytes | None, bytes | None, Headers] | tuple[bytes | None, bytes | None, Headers, int]
"""Key, value and headers of a record, and its Kafka timestamp where it is not the producer's clock."""


class Addressed(Protocol):
    """A Kafka that is running."""

    @property
    def bootstrap(self) -> str: ...


class RawName(str):
    """A header name that kafka-python sends as these bytes."""

    raw: bytes

    def __new__(cls, raw: bytes) -> "RawName":
        made = super().__new__(cls, raw.decode(errors="backslashreplace"))
        made.raw = raw
        return made

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        del encoding, errors
        return self.raw


BAD_NAME: Headers = [("fine", b"1"), (RawName(b"n\xff"), b"2")]
# 360 KB on the wire; code that is quadratic in their number takes minutes.
MANY_HEADERS: Headers = [("h", b"")] * 120_000


def by_kafka_python(
    kafka: Addressed, topic: str, records: Sequence[Row], partition: int | None = 0, codec: str | None = None
) -> None:
    """Send (key, value, headers) in one batch where possible."""
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=codec, linger_ms=50)
    try:
        for key, value, headers, *_ in records:
            producer.send(topic, value, key=key, headers=headers, partition=partition)
        producer.flush(20)
    finally:
        producer.close()


def by_librdkafka(
    kafka: Addressed,
    topic: str,
    records: Sequence[Row],
    partition: int = 0,
    codec: str = "none",
    ending: str = "none",
    **options: str | int,
) -> None:
    """Send (key, value, headers) and possibly a Kafka timestamp with confluent-kafka.

    Args:
        kafka: With its address.
        topic: Topic name.
        records: In order.
        partition: -1 for the producer's own choice.
        codec: Compression.
        ending: How the transaction ends: committed, aborted, or open, which the broker aborts when it times out; none
            for no transaction.
        **options: Of the producer, such as its partitioner.
    """
    failures: list[KafkaError] = []
    given = {"bootstrap.servers": kafka.bootstrap, "compression.type": codec, "linger.ms": 20, **options}
    producer = Producer({name.replace("_", "."): value for name, value in given.items()})
    if ending != "none":
        producer.init_transactions(20)
        producer.begin_transaction()
    for key, value, headers, *stamps in records:
        producer.produce(
            topic,
            value,
            key,
            partition=partition,
            headers=list(headers),
            on_delivery=lambda error, _: failures.append(error) if error is not None else None,
            timestamp=stamps[0] if stamps else 0,  # 0: the producer's clock
        )
    assert producer.flush(20) == 0
    assert not failures
    if ending == "committed":
        producer.commit_transaction(20)
    elif ending == "aborted":
        producer.abort_transaction(20)


def by_aiokafka(
    kafka: Addressed, topic: str, records: Sequence[Row], partition: int | None = 0, codec: str | None = None
) -> None:
    """Send (key, value, headers) with aiokafka."""
    from aiokafka import AIOKafkaProducer

    async def send() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap, compression_type=codec, linger_ms=20, max_request_size=2 << 20
        ) as producer:
            sent = [await producer.send(topic, v, key=k, headers=h, partition=partition) for k, v, h, *_ in records]
            await asyncio.gather(*sent)

    asyncio.run(send())
