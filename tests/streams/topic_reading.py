"""Reads a topic from its start, with a deadline."""

import time

from kafka import TopicPartition

from sidestream.streams.broker import RunningBroker
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients

DEADLINE_S = 30.0


def read(broker: RunningBroker, topic: TopicSpec, count: int) -> list:
    consumer = Clients(broker.kafka).consumer()
    consumer.assign([TopicPartition(topic.name, number) for number in range(topic.partitions)])
    consumer.seek_to_beginning()
    found: list = []
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < count and time.monotonic() < deadline:
        for records in consumer.poll(timeout_ms=200).values():
            found += records
    consumer.close()
    return found
