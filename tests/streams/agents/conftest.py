import pytest
from agent_rig import TOPICS
from test_tokenizing import FakeEncoder

from streams.agents.catalog import CatalogAgent
from streams.agents.settings import AgentSettings
from streams.connect import Clients, KafkaSettings
from streams.contracts.decode import Limits
from streams.lane.group.faust_app import make_faust_app
from streams.lane.metrics import LaneCounts
from streams.lane.settings import LaneSettings
from streams.metrics import Metrics


@pytest.fixture
def make_agent(tmp_path):
    def build(clients=None, encoder=None, seconds=lambda: 0.0, **settings):
        kafka = Clients(KafkaSettings(bootstrap="127.0.0.1:1"))
        app = make_faust_app("test", kafka, LaneSettings(), tmp_path, LaneCounts())
        agent_settings = AgentSettings(**{"batch_ms": 1, **settings})
        return CatalogAgent(
            app, clients or kafka, TOPICS, encoder or FakeEncoder(), Limits(), agent_settings, Metrics(), seconds
        )

    return build


@pytest.fixture
def agent(make_agent):
    return make_agent()
