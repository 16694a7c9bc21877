"""Test doubles for the catalogue agent: a producer and a stream without Kafka, and an encoder that blocks."""

import asyncio
import json
import threading
from types import SimpleNamespace

from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.kafka.clients import KafkaSettings
from sidestream.streams.tokenizing.records import ConsumedRecord
from tests.streams.kafka.producers import Broker
from tests.streams.tokenizing.test_values import FakeEncoder

TOPICS = build_topics(TopicSettings())
SIDS, DLQ = TOPICS.item_sids.name, TOPICS.catalog_items.name + ".dlq"


class FakeKafka(Broker):
    """Clients of the agent, and what it wrote."""

    settings = KafkaSettings(bootstrap="127.0.0.1:1", session_timeout_ms=10_000)

    @property
    def sent(self):
        return [(topic, key) for topic, key, _ in self.written]


class FakeStream:
    """The stream of a Faust agent with all events available at once."""

    def __init__(self, *item_ids):
        self.all = [SimpleNamespace(message=source(place, item_id)) for place, item_id in enumerate(item_ids)]
        self.acked = []

    def noack(self):
        return self

    async def events(self):
        for event in self.all:
            yield event

    async def ack(self, event):
        self.acked.append(event.message.offset)


class SlowEncoder(FakeEncoder):
    def __init__(self):
        super().__init__()
        self.begun, self.released = threading.Event(), threading.Event()

    def encode_items(self, items):
        self.begun.set()
        assert self.released.wait(10)
        return super().encode_items(items)


def source(offset, item_id, value="item"):
    if value == "item":
        value = json.dumps({"item_id": item_id, "kind": "track", "title": "T", "at": 1_700_000_000_000}).encode()
    return ConsumedRecord(TOPICS.catalog_items.name, 0, offset, 1_700_000_000_000, item_id.encode(), value, [])


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
