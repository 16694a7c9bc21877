"""Which workers may share a group, as far as it can be tested without a broker."""

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, InconsistentGroupProtocolError
from faust.assignor.partition_assignor import PartitionAssignor

from sidestream.streams.group.faust_app import make_faust_app
from sidestream.streams.group.shared_guarantee import rejection
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.metrics import Metrics


def protocol(folder, guarantee: str, kind: str = "kafka") -> str:
    clients = Clients(KafkaSettings(bootstrap="127.0.0.1:1", kind=kind))
    return make_faust_app(
        "a", clients, LaneSettings(guarantee=guarantee), folder, LaneMetrics(Metrics(), "listens")
    ).assignor.name


def test_each_guarantee_has_its_own_protocol_and_auto_uses_the_chosen_one(tmp_path):
    once, least = protocol(tmp_path, "exactly_once"), protocol(tmp_path, "at_least_once")
    assert once != least
    assert protocol(tmp_path, "auto") == once
    assert protocol(tmp_path, "auto", kind="embedded") == least


def test_groups_of_earlier_releases_continue_with_transactions(tmp_path):
    assert protocol(tmp_path, "exactly_once") == PartitionAssignor.name.fget(None) == "faust"


@pytest.mark.parametrize("error", [None, GroupAuthorizationFailedError("g")])
def test_other_join_errors_are_not_a_rejection(error):
    assert rejection("g", "faust", error) is None


def test_rejection_says_what_to_do():
    assert "group g: expected workers with the lane.guarantee of this one (protocol faust)" in str(
        rejection("g", "faust", InconsistentGroupProtocolError())
    )
