"""`sidestream up`: what its workers are told, and the address that it prints."""

import re
import signal
import urllib.error
import urllib.request

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

    monkeypatch.setattr(fleet, "Fleet", NoFleet)

    def up(count, shown="worker.instance", **flags):
        NoFleet.run = lambda self: [worker.get(shown) for worker in self.flags]
        context = Context(GlobalOptions(assignments=[f"{name}={value}" for name, value in flags.items()]))
        return _run_fleet(context, context.settings, count)

    return up


def test_workers_take_the_next_free_folders_beside_those_that_run(told):
    assert told(2) == [None, None]


def test_a_given_instance_is_the_first_ones(told):
    assert told(3, **{"worker.instance": 4}) == [4, 5, 6]


def test_each_static_member_has_an_id_of_its_own(told):
    assert told(2, "worker.group_instance_id") == [None, None]
    given = {"worker.group_instance_id": "radio"}
    assert told(3, "worker.group_instance_id", **given) == ["radio-1", "radio-2", "radio-3"]


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_address_that_is_told_is_the_workers_own(sidestream_process):
    pytest.importorskip("confluent_kafka")
    given = ["--set", "broker.kind=embedded", "--set", "web.port=0"]
    with sidestream_process("up", *given) as process:
        lines = iter(process.stdout.readline, "")
        url = next(found.group() for line in lines if (found := re.search(r"http://\S+/readyz", line)))
        assert status(url) in (200, 503)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
