"""Whether topics and partitions are there, asked without creating any."""

import asyncio
from collections.abc import Callable, Collection, Iterable

from aiokafka import AIOKafkaConsumer

from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.faults import absent_partition, absent_topic
from sidestream.streams.kafka.spans import Place

# A topic that was just made is known to one broker a moment before the others.
_ABSENT_S = 1.0
_ABSENT_LOOK_S = 0.05
# Metadata of an assigned topic comes with one request; nothing tells when it has.
_METADATA_S = 30.0
_METADATA_LOOK_S = 0.002


async def require_topics(
    consumer: AIOKafkaConsumer, topics: Collection[str], bootstrap: str, seconds: Callable[[], float]
) -> None:
    """Look for topics; must come before they are assigned, which would create them on brokers that are set to.

    Args:
        consumer: Started consumer.
        topics: Their names.
        bootstrap: The Kafka.
        seconds: Monotonic clock.

    Raises:
        TopicError: One does not exist.
    """
    until_s = seconds() + _ABSENT_S
    while absent := set(topics) - await consumer.topics():
        if seconds() >= until_s:
            raise absent_topic(sorted(absent)[0], bootstrap)
        await asyncio.sleep(_ABSENT_LOOK_S)


async def require_partitions(
    consumer: AIOKafkaConsumer, places: Iterable[Place], bootstrap: str, seconds: Callable[[], float]
) -> None:
    """Wait for the metadata of assigned topics and look for partitions.

    Args:
        consumer: Consumer that the partitions are assigned to.
        places: The partitions.
        bootstrap: The Kafka.
        seconds: Monotonic clock.

    Raises:
        TopicError: One does not exist.
        BrokerError: Kafka does not say.
    """
    until_s = seconds() + _METADATA_S
    for place in places:
        while (found := consumer.partitions_for_topic(place.topic)) is None:
            if seconds() >= until_s:
                msg = f"{bootstrap}: no metadata of topic {place.topic}; check that the broker is up"
                raise BrokerError(msg)
            await asyncio.sleep(_METADATA_LOOK_S)
        if place.partition not in found:
            raise absent_partition(place, found)
