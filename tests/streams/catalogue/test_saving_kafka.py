"""A restarted reader on a real Kafka resumes from the catalogue saved by the previous one."""

import asyncio
import time

import pytest

from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.catalogue.disk import LocalCatalogue
from sidestream.streams.catalogue.reader import CatalogueReader
from sidestream.streams.catalogue.saving import CatalogueSaver
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.contracts.topics import create_topics
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.clock import LogClock, WallClock
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import Catalogue
from sidestream.tokenizer.sid import item_key
from tests.streams.catalogue.test_current_catalogue import DIM, SIZES, VERSION, ids, record

pytestmark = pytest.mark.broker


class Worker:
    """A reader with its own catalogue, on the same disk as the others."""

    def __init__(self, clients, topic, folder, **settings):
        def vectorize(item_ids, codes, x):
            return x, 1.0 + codes[:, 0].astype("float32")

        self.settings = CatalogueSettings(**{"save_min_items": 0, **settings})
        self.metrics = Metrics()
        self.live = CurrentCatalogue(
            Catalogue(VERSION, SIZES, DIM, vectorize, x_dim=DIM),
            UpdateDecoder(VERSION, SIZES, DIM),
            self.settings,
            self.metrics,
            LogClock(),
        )
        local = LocalCatalogue(folder, VERSION, "model", WallClock())
        saving = CatalogueSaver(self.live, local, clients, self.settings)
        self.reader = CatalogueReader(clients, topic, self.live, self.settings, saving=saving)

    async def __aenter__(self):
        await asyncio.wait_for(self.reader.start(), 30)
        return self

    async def __aexit__(self, *exc):
        await self.reader.stop()

    def read(self):
        return sum(self.metrics.catalogue_updates.labels(name)._value.get() for name in ("applied", "removed"))

    async def until(self, condition, what):
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, what
            await asyncio.sleep(0.02)


def publish(clients, topic, records):
    producer = clients.producer()
    for key, value in records:
        producer.send(topic.name, key=key, value=value)
    producer.flush()
    producer.close()


def saved(folder):
    return [path for path in folder.glob("*/*") if path.name.isdigit()]


async def test_reader_resumes_from_the_save_of_the_previous_reader(kafka, make_topics, tmp_path):
    clients, topic = Clients(kafka.kafka), make_topics().item_sids
    publish(clients, topic, [record(f"i{n}", offset=n, sid=(n % 4, 1)) for n in range(40)] + [(b"i1", None)])
    async with Worker(clients, topic, tmp_path) as first:
        assert (first.reader.snapshot.num_items, first.read()) == (39, 41)
        assert sum(first.reader.snapshot.source_offsets) == 41
    publish(clients, topic, [record("new", offset=50), (b"i2", None), record("i3", offset=1, sid=(0, 0))])
    async with Worker(clients, topic, tmp_path) as second:
        assert second.read() == 3
        assert sum(second.reader.snapshot.source_offsets) == 44, "what was saved and what came since"
        assert set(ids(second.reader.snapshot)) == {f"i{n}" for n in range(40)} - {"i1", "i2"} | {"new"}
        # Older than the record applied before the stop: the item keeps its SID.
        assert second.reader.snapshot.stored_sid(item_key("i3")) == (VERSION, (3, 1))
    async with Worker(clients, topic, tmp_path) as third:
        assert third.read() == 0
        assert third.reader.snapshot.num_items == 39
    async with Worker(clients, topic, tmp_path, save_every_s=0) as forgetful:
        assert forgetful.read() == 44


async def test_a_recreated_topic_is_read_from_its_beginning(kafka, make_topics, tmp_path):
    clients, topic = Clients(kafka.kafka), make_topics().item_sids
    publish(clients, topic, [record(f"i{n}") for n in range(10)])
    async with Worker(clients, topic, tmp_path):
        pass
    admin = clients.admin()
    admin.delete_topics([topic.name])
    deadline = time.monotonic() + 20
    while topic.name in admin.list_topics():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    admin.close()
    again = KafkaTopicAdmin(clients)
    create_topics(again, [topic])
    assert again.describe([topic.name])[topic.name].delete_retention_ms == 7 * 86_400_000
    again.close()
    publish(clients, topic, [record(f"n{n}") for n in range(12)])
    async with Worker(clients, topic, tmp_path) as worker:
        assert ids(worker.reader.snapshot) == sorted(f"n{n}" for n in range(12))


async def test_a_running_reader_saves_periodically(kafka, make_topics, tmp_path):
    clients, topic = Clients(kafka.kafka), make_topics().item_sids
    publish(clients, topic, [record("a")])
    async with Worker(clients, topic, tmp_path, save_every_s=0.1, save_on_stop_s=0) as worker:
        await worker.until(lambda: saved(tmp_path), "the first save")
        first = saved(tmp_path)
        publish(clients, topic, [record("b")])
        await worker.until(lambda: saved(tmp_path) and saved(tmp_path) != first, "the next save")
    async with Worker(clients, topic, tmp_path) as worker:
        assert (ids(worker.reader.snapshot), worker.read()) == (["a", "b"], 0)


async def test_a_reader_with_saving_disabled_saves_nothing_on_stop(kafka, make_topics, tmp_path):
    clients, topic = Clients(kafka.kafka), make_topics().item_sids
    publish(clients, topic, [record("a")])
    async with Worker(clients, topic, tmp_path) as worker:
        worker.reader.save_nothing()
    assert saved(tmp_path) == []
