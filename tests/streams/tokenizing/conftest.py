import pytest

from sidestream.streams.contracts.decode import Limits
from sidestream.streams.group.faust_app import make_faust_app
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.agent import CatalogAgent
from sidestream.streams.tokenizing.settings import AgentSettings
from tests.streams.tokenizing.agent_rig import TOPICS
from tests.streams.tokenizing.test_values import FakeEncoder


@pytest.fixture
def make_agent(tmp_path):
    def build(clients=None, encoder=None, seconds=lambda: 0.0, **settings):
        kafka = Clients(KafkaSettings(bootstrap="127.0.0.1:1"))
        app = make_faust_app("test", kafka, LaneSettings(), tmp_path, LaneMetrics(Metrics(), "listens"))
        agent_settings = AgentSettings(**{"batch_ms": 1, **settings})
        return CatalogAgent(
            app, clients or kafka, TOPICS, encoder or FakeEncoder(), Limits(), agent_settings, Metrics(), seconds
        )

    return build


@pytest.fixture
def agent(make_agent):
    return make_agent()
