import pytest

from sidestream.streams.demo.system import CatalogueWatch, demo_topics, shareable
from sidestream.streams.errors import SidestreamError
from sidestream.streams.settings import Settings


class Worker:
    log_file = "worker.log"

    def __init__(self, *known, ended=False):
        self.known, self.ended = list(known), ended

    def get(self, path):
        assert path == "/metrics"
        known = self.known.pop(0) if len(self.known) > 1 else self.known[0]
        return (0, None) if known is None else (200, f"# HELP\nsidestream_catalogue_items {float(known)}\n")

    def require_running(self):
        if self.ended:
            msg = "worker ended with code 1"
            raise SidestreamError(msg)


def test_a_catalogue_is_waited_for_as_long_as_it_grows(monkeypatch):
    now = iter(range(0, 1_000, 8))
    monkeypatch.setattr("sidestream.streams.demo.system.time.monotonic", lambda: next(now))
    watch = CatalogueWatch(Worker(None, 0, 5, 10, 15, 20), quiet_s=10)
    assert [watch.knows(20) for _ in range(6)] == [False] * 5 + [True]


def test_a_catalogue_that_stands_still_ends_the_wait_in_a_sentence(monkeypatch):
    now = iter(range(0, 1_000, 8))
    monkeypatch.setattr("sidestream.streams.demo.system.time.monotonic", lambda: next(now))
    watch = CatalogueWatch(Worker(7), quiet_s=10)
    assert [watch.knows(20) for _ in range(2)] == [False, False]
    with pytest.raises(SidestreamError, match=r"knows 7 of 20 items, and no more came for 10 s \(log: worker\.log\)"):
        watch.knows(20)


def test_a_worker_that_ended_ends_the_wait():
    with pytest.raises(SidestreamError, match="code 1"):
        CatalogueWatch(Worker(7, ended=True), quiet_s=10).knows(20)


def test_topics_on_a_given_kafka_are_the_demos_own_and_the_log_may_lie_in_the_future():
    assert demo_topics(Settings()).prefix == ""
    assert demo_topics(Settings(topics={"prefix": "mine-"})).prefix == "mine-"
    given = demo_topics(Settings(kafka={"bootstrap": "127.0.0.1:9"}, topics={"prefix": "mine-", "user_partitions": 3}))
    assert given.prefix.startswith("demo-")
    assert given.user_partitions == 3
    assert given.max_future_ms > 50 * 365 * 86_400_000


def test_secrets_are_not_written_to_the_settings_file():
    flags = {"kafka.security.password": "geheim", "kafka.bootstrap": "h:1", "topics.max_past_ms": None}
    assert shareable(flags) == {"kafka.bootstrap": "h:1"}
