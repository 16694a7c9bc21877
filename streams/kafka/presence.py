"""Checks that topics and partitions exist, without creating them."""

import asyncio
from collections.abc import Callable, Collection, Iterable

from aiokafka import AIOKafkaConsumer

from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.read_errors import missing_partition_error, missing_topic_error
from sidestream.streams.kafka.read_rules import Place

# A topic that was just created is known to one broker slightly before the others.
_ABSENT_S = 1.0
_ABSENT_LOOK_S = 0.05
# Metadata of an assigned topic arrives with one request; aiokafka does not signal when.
_METADATA_S = 10.0
_METADATA_LOOK_S = 0.002


async def require_topics(
    consumer: AIOKafkaConsumer, topics: Collection[str], bootstrap: str, seconds: Callable[[], float]
) -> None:
    """Check that topics exist; must precede their assignment, which would create them on brokers with auto-creation.

    Args:
        consumer: Started consumer.
        topics: Topic names.
        bootstrap: Address of the broker.
        seconds: Monotonic clock.

    Raises:
        TopicError: One does not exist.
    """
    until_s = seconds() + _ABSENT_S
    while absent := set(topics) - await consumer.topics():
        if seconds() >= until_s:
            raise missing_topic_error(sorted(absent)[0], bootstrap)
        await asyncio.sleep(_ABSENT_LOOK_S)


async def require_partitions(
    consumer: AIOKafkaConsumer, places: Iterable[Place], bootstrap: str, seconds: Callable[[], float]
) -> None:
    """Wait for the metadata of assigned topics and check that partitions exist.

    Args:
        consumer: Consumer that the partitions are assigned to.
        places: Partitions.
        bootstrap: Address of the broker.
        seconds: Monotonic clock.

    Raises:
        TopicError: One does not exist.
        BrokerError: Kafka does not answer.
    """
    until_s = seconds() + _METADATA_S
    for place in places:
        while (found := consumer.partitions_for_topic(place.topic)) is None:
            if seconds() >= until_s:
                msg = f"{bootstrap}: no metadata of topic {place.topic}; check that the broker is up"
                raise BrokerError(msg)
            await asyncio.sleep(_METADATA_LOOK_S)
        if place.partition not in found:
            raise missing_partition_error(place, found)
