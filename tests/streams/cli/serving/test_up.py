"""`sidestream up` tells where the worker answers: at the port that it took, not the one in the settings."""

import re
import signal
import urllib.error
import urllib.request

import pytest


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
