import json

import pytest
from test_tokenizing import FakeEncoder

from models.records import ItemSids
from streams.agents.catalog import CatalogAgent, _Source
from streams.agents.settings import AgentSettings
from streams.connect import Clients, KafkaSettings
from streams.contracts.decode import Limits
from streams.contracts.settings import TopicSettings
from streams.contracts.topics import build_topics
from streams.lane.faust_app import make_faust_app
from streams.lane.metrics import LaneCounts
from streams.lane.settings import LaneSettings
from streams.metrics import Metrics

TOPICS = build_topics(TopicSettings())
SIDS, DLQ = TOPICS.item_sids.name, TOPICS.catalog_items.name + ".dlq"


@pytest.fixture
def agent(tmp_path):
    clients = Clients(KafkaSettings(bootstrap="127.0.0.1:1"))
    app = make_faust_app("test", clients, LaneSettings(), tmp_path, LaneCounts())
    return CatalogAgent(app, clients, TOPICS, FakeEncoder(), Limits(), AgentSettings(), Metrics())


def source(offset, item_id, value="item"):
    if value == "item":
        value = json.dumps({"item_id": item_id, "kind": "track", "title": "T", "at": 1}).encode()
    return _Source(TOPICS.catalog_items.name, 0, offset, 1, item_id.encode(), value, [])


def test_items_tombstones_and_bad_records_leave_in_their_order(agent):
    made = agent._outgoing(
        [source(0, "a"), source(1, "b", None), source(2, "c", b"{"), source(3, "a"), source(4, "poison")]
    )
    assert [(topic, key) for topic, key, *_ in made] == [
        (SIDS, b"a"),
        (SIDS, b"b"),
        (DLQ, b"c"),
        (SIDS, b"a"),
        (DLQ, b"poison"),
    ]
    assert made[1][2] is None
    assert made[2][2] == b"{"
    assert [ItemSids.from_json(made[place][2]).source_offset for place in (0, 3)] == [0, 3]
    assert dict(made[4][3])["__streams.errors.reason"] == b"bad_value"


def test_nothing_in_is_nothing_out(agent):
    assert agent._outgoing([]) == []
