"""Sends everything that a run is about: each producer with each codec, then what is odd, wrong or not committed."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sidestream.models.records import Listen
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.settings import PartitionerName
from sidestream.streams.errors import BrokerError
from tests.bench.fleet.installation import Installation
from tests.bench.foreign import java, kafkajs
from tests.bench.foreign.kafkajs import NoNodeError
from tests.bench.foreign.records import (
    Record,
    Sent,
    hidden,
    huge_headers,
    listens,
    odd_headers,
    other_clocks,
    tombstone,
    unreadable_headers,
    wrong,
)
from tests.integration.wire.odd_records import by_aiokafka, by_kafka_python, by_librdkafka

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# The broker looks for transactions that timed out every 10 s.
ABANDONED_MS = 1_000
OWN_CHOICE = -1

Send = Callable[[Sequence[Record], str], None]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Producers:
    """All producers of one run.

    Args:
        installation: Where they send to.
        users: Listeners of each producer and codec.
        each: Listens of each of them.
    """

    def __init__(self, installation: Installation, users: int, each: int) -> None:
        self.kafka, self.topic = installation.rig.broker, installation.topics.listens.name
        self._installation, self._users, self._each = installation, users, each
        self.sent: list[Sent] = []
        self.skipped: dict[str, str] = {}
        self._others: dict[str, Send] = {}
        self._find_others()

    def _find_others(self) -> None:
        try:
            self._others["kafkajs"] = partial(kafkajs.send, kafkajs.ensure_modules(), self.kafka.bootstrap, self.topic)
        except NoNodeError as reason:
            self.skipped["kafkajs"] = str(reason)
        try:
            self._others["console"] = partial(java.send, java.ensure_tools(), self.kafka.bootstrap, self.topic)
        except BrokerError as reason:
            self.skipped["console"] = str(reason)

    def send_listens(self, codecs: Sequence[str]) -> None:
        """Listens of every producer, with each codec."""
        for codec in codecs:
            self._listens("librdkafka", "crc32", self._librdkafka, codec)
            # As its own documentation has it: murmur2_random is what Java's producer does.
            murmur2 = partial(self._librdkafka, partitioner="murmur2_random")
            self._listens("librdkafka-murmur2", "murmur2", murmur2, codec)
            self._listens("kafka-python", "murmur2", partial(self._python, by_kafka_python), codec)
            self._listens("aiokafka", "murmur2", partial(self._python, by_aiokafka), codec)
            for name, send in self._others.items():
                self._listens(name, "murmur2", send, codec)
        self._ours()

    def send_odd(self) -> None:
        """Records that are unusual or wrong, each by a producer that can send it."""
        now_ms = _now_ms()
        murmur2 = partial(self._librdkafka, codec="lz4", partitioner="murmur2_random")
        odd = [*odd_headers(now_ms), *other_clocks(now_ms), *wrong("librdkafka-murmur2", now_ms)]
        murmur2(odd)
        self._note("librdkafka-murmur2", odd, "murmur2")
        huge = huge_headers(now_ms)
        self._python(by_aiokafka, huge, "none")
        self._note("aiokafka", huge, "murmur2")
        unreadable = unreadable_headers(now_ms)
        self._python(by_kafka_python, unreadable, "zstd")
        self._note("kafka-python", unreadable, "murmur2")
        for name, send in self._others.items():
            # The console producer has one encoding for all it sends: text.
            records = wrong(name, now_ms) if name == "kafkajs" else [tombstone(name)]
            send(records, "gzip")
            self._note(name, records, "murmur2")

    def send_transactions(self) -> None:
        """Transactions that are committed, aborted, and left open until the broker aborts them."""
        for ending in ("committed", "aborted", "open"):
            name = f"librdkafka-{ending}"
            records = listens(name, self._users, self._each, _now_ms())
            options: dict[str, Any] = {"transactional_id": f"{self.topic}-{ending}", "partitioner": "murmur2_random"}
            if ending == "open":
                options["transaction_timeout_ms"] = ABANDONED_MS
            self._librdkafka(records, "zstd", ending=ending, **options)
            self._note(name, records if ending == "committed" else hidden(records), "murmur2")

    def _listens(self, name: str, partitioner: PartitionerName, send: Send, codec: str) -> None:
        records = listens(f"{name}-{codec}", self._users, self._each, _now_ms())
        send(records, codec)
        self._note(name, records, partitioner)

    def _ours(self) -> None:
        settings = self._installation.settings
        made = [Listen.from_json(record.value or b"") for record in listens("ours", self._users, self._each, _now_ms())]
        with SidestreamClient(self.kafka.kafka, settings) as client:
            for listen in made:
                client.publish_listen(listen)
            client.flush()
        records = [Record(listen.user_id.encode(), listen.to_json()) for listen in made]
        self._note("ours", records, settings.partitioner)

    def _librdkafka(self, records: Sequence[Record], codec: str, **options: Any) -> None:
        by_librdkafka(self.kafka, self.topic, [one.sent for one in records], OWN_CHOICE, codec, **options)

    def _python(self, send: Callable[..., None], records: Sequence[Record], codec: str) -> None:
        chosen = None if codec == "none" else codec
        send(self.kafka, self.topic, [one.sent for one in records], None, chosen)

    def _note(self, producer: str, records: Sequence[Record], partitioner: PartitionerName) -> None:
        self.sent.append(Sent(producer, records, partitioner))
