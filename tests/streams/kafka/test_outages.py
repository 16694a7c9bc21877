"""An outage is told once, shown while it lasts, counted, and retried after ever longer pauses."""

import asyncio

import pytest
from structlog.testing import capture_logs

from sidestream.streams.kafka import outages
from sidestream.streams.kafka.outages import Outages


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_short_outages_are_counted_and_not_told():
    seconds, begun = [0.0], []
    found = Outages(lambda: seconds[0])
    found.on_begin = begun.append
    outage = found.of("catalogue")
    with capture_logs() as lines:
        for _ in range(3):
            outage.begin("no leader")
            outage.begin("no leader")
            assert outage.is_on
            outage.end()
        outage.end()
    assert begun == ["catalogue"] * 3
    assert found.not_ready() == lines == []
    assert found.of("catalogue") is outage


async def test_longer_ones_are_told_once_and_shown(monkeypatch):
    monkeypatch.setattr(outages, "SHOWN_AFTER_S", 0.001)
    seconds = [0.0]
    found = Outages(lambda: seconds[0])
    outage = found.of("catalogue")
    with capture_logs() as lines:
        outage.begin(ConnectionError("line 1\nline 2"))
        await until(found.not_ready)
        outage.begin("still away")
        seconds[0] = 7.3
        assert found.not_ready() == ["catalogue: waits for Kafka since 7 s: still away"]
        outage.end()
    assert found.not_ready() == []
    told = [(line["log_level"], line["event"], line["part"]) for line in lines]
    assert told == [
        ("warning", "Kafka is away, retrying", "catalogue"),
        ("info", "Kafka is back", "catalogue"),
    ]
    assert (lines[0]["reason"], lines[1]["after_s"]) == ("line 1 line 2", 7.3)


async def test_pauses_grow_up_to_a_limit_and_begin_again(monkeypatch):
    pauses = []

    async def sleep(pause_s):
        pauses.append(pause_s)

    outage = Outages().of("catalogue")
    monkeypatch.setattr(outages.asyncio, "sleep", sleep)
    for _ in range(7):
        await outage.wait("away")
    outage.end()
    await outage.wait("away")
    outage.end()
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 0.1])
