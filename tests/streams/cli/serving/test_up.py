"""`sidestream up --workers N`: what its workers are told."""

import pytest

from sidestream.streams.cli.context import Context
from sidestream.streams.cli.options import GlobalOptions
from sidestream.streams.cli.serving.worker import _run_fleet
from sidestream.streams.worker import fleet


@pytest.fixture
def told(monkeypatch):
    """Gives the settings of each worker that `up` starts."""

    class NoFleet:
        def __init__(self, flags, config, stop_timeout_s):
            self.flags = flags

        def run(self):
            return [worker.get("worker.instance") for worker in self.flags]

    monkeypatch.setattr(fleet, "Fleet", NoFleet)

    def up(count, **flags):
        context = Context(GlobalOptions(assignments=[f"{name}={value}" for name, value in flags.items()]))
        return _run_fleet(context, context.settings, count)

    return up


def test_workers_take_the_next_free_folders_beside_those_that_run(told):
    assert told(2) == [None, None]


def test_a_given_instance_is_the_first_ones(told):
    assert told(3, **{"worker.instance": 4}) == [4, 5, 6]
