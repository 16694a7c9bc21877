"""`sidestream up` as a process, on an embedded broker: the name, folder and port that it was asked for."""

import itertools
import re
import time

import pytest

from sidestream.streams.running.brokers import broker_registry
from tests.streams.cli.pages import answers

DEADLINE_S = 60


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_name_folder_and_port_are_those_that_were_asked_for(sidestream_process, tmp_path, workers):
    pytest.importorskip("confluent_kafka")
    given = ["--data-dir", "data", "--broker", "second", "--set", "broker.kind=embedded", "--set", "web.port=0"]
    with sidestream_process("up", *given, "--workers", workers) as process:
        lines = iter(process.stdout.readline, "")
        said = (found[1] for line in lines if (found := re.search(r"(http://\S+/readyz) tells", line)))
        urls = list(itertools.islice(said, workers))
        assert len(urls) == workers
        (broker,) = broker_registry().running()
        assert (broker.name, broker.data_dir) == ("second", str(tmp_path / "data" / "kafka"))
        for url in urls:
            assert not url.endswith(":0/readyz")
            assert answers_in_time(url)
        process.terminate()
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
    assert broker_registry().running() == []
    assert not (tmp_path / "var").exists()


def answers_in_time(url):
    deadline = time.monotonic() + DEADLINE_S
    while not (found := answers(url)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
