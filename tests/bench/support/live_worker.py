"""A catalogue agent with live items and no Kafka: records in, records out, and a worker that may be killed anywhere."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaConnectionError

from sidestream.models.records import ItemSids
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import TopicSpec, build_topics
from sidestream.streams.errors import LaneError
from sidestream.streams.group.faust_app import make_faust_app
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.kafka.lasting.producer import LastingProducer
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.runtime.clock import LogClock
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.agent import CatalogAgent
from sidestream.streams.tokenizing.live.items import LiveItems
from sidestream.streams.tokenizing.live.service import LiveItemsService
from sidestream.streams.tokenizing.live_codebooks import live_codebooks
from sidestream.streams.tokenizing.records import ConsumedRecord
from sidestream.streams.tokenizing.settings import AgentSettings
from sidestream.streams.tokenizing.values import ItemEncoder
from sidestream.tokenizer.live import LiveSettings, LiveState, decode_state
from tests.bench.support.live_streams import EPOCH_MS

TOPICS = build_topics(TopicSettings())
SIDS, STATES = TOPICS.item_sids.name, TOPICS.live_states.name
AT = EPOCH_MS
# Nothing is sent there.
NOWHERE = Clients(KafkaSettings(bootstrap="127.0.0.1:1"))


class Log:
    """What Kafka would hold: the latest value of each key, and all that was ever written."""

    def __init__(self) -> None:
        self.written: list[tuple[str, bytes, bytes | None]] = []
        self.latest: dict[tuple[str, bytes], bytes] = {}

    def write(self, topic: str, key: bytes, value: bytes | None) -> None:
        self.written.append((topic, key, value))
        if value is None:
            self.latest.pop((topic, key), None)
        else:
            self.latest[topic, key] = value

    def copy(self) -> "Log":
        other = Log()
        other.written, other.latest = list(self.written), dict(self.latest)
        return other

    def of(self, topic: str) -> dict[bytes, bytes]:
        return {key: value for (name, key), value in self.latest.items() if name == topic}


class Producer(LastingProducer):
    """Writes to a log until it has written so many records; then the process is dead."""

    def __init__(self, log: Log, writes: int | None = None) -> None:
        super().__init__(NOWHERE, "log")
        self.log, self.left = log, writes

    async def send(
        self, records: Sequence[Outgoing], is_wanted: Callable[[], bool] = lambda: True, within_s: float | None = None
    ) -> bool:
        for topic, key, value, _ in records:
            if self.left is not None:
                if not self.left:
                    raise KafkaConnectionError
                self.left -= 1
            self.log.write(topic, key or b"", value)
        return True


class LiveWorker:
    """The catalogue agent of one process, with what it restored."""

    def __init__(
        self,
        tokenizers: Sequence[ItemEncoder],
        tmp_path: Path,
        log: Log,
        settings: LiveSettings | None = None,
        writes: int | None = None,
    ) -> None:
        self.metrics, self.clock, self.log = Metrics(), LogClock(), log
        clients = NOWHERE
        self.items = LiveItems(TOPICS, live_codebooks(tokenizers), Limits(), settings or LiveSettings(), self.metrics)
        self.items.add_restored({0: {key: decode_state(value) for key, value in log.of(STATES).items()}})
        service = LiveItemsService(self.items, TOPICS.live_states, clients, self.clock)
        app = make_faust_app("test", clients, LaneSettings(), tmp_path, LaneMetrics(Metrics(), "listens"))
        self.agent = CatalogAgent(
            app, clients, TOPICS, tokenizers[0], Limits(), AgentSettings(), self.metrics, lambda: 0.0, service
        )
        self.producer = self.agent.sender.producer = Producer(log, writes)

    async def take(self, sources: Sequence[ConsumedRecord]) -> bool:
        """Fold a batch; false where the process died on the way."""
        try:
            await self.agent.sender.send(self.agent._make_records(sources), self.agent.epoch)
        except LaneError:
            return False
        return True

    def state(self, item_id: str = "live") -> LiveState | None:
        return self.items.state(0, item_id)


def record(topic: TopicSpec, offset: int, key: str, value: object, at: int = AT) -> ConsumedRecord:
    """Make a record; a value that is not bytes already is written as JSON, None is a tombstone."""
    content = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return ConsumedRecord(topic.name, 0, offset, at, key.encode(), content, [])


def item(offset: int, item_id: str = "live", **fields: Any) -> ConsumedRecord:
    value = {"item_id": item_id, "kind": "live", "title": "Live: a late jazz trio", "at": AT, **fields}
    return record(TOPICS.catalog_items, offset, item_id, value)


def segment(offset: int, text: str, item_id: str = "live", **fields: Any) -> ConsumedRecord:
    end_ms = (offset + 1) * 5_000
    value = {"item_id": item_id, "at": AT + end_ms, "start_ms": end_ms - 5_000, "end_ms": end_ms, "text": text}
    return record(TOPICS.live_segments, offset, item_id, value | fields, AT + end_ms)


def sids(log: Log, item_id: str = "live") -> list[ItemSids | None]:
    """All values of an item in the order in which they were written."""
    return [
        None if value is None else ItemSids.from_json(value)
        for topic, key, value in log.written
        if topic == SIDS and key == item_id.encode()
    ]
