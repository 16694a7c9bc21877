"""Fixtures that every test folder shares: a real Apache Kafka, and topics of one's own on it."""

import gc
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidestream.streams.broker import BrokerSettings, RunningBroker, start_broker
from sidestream.streams.broker.jars import ensure_jars, require_kafka
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import Topics, build_topics, create_topics
from sidestream.streams.errors import BrokerError
from sidestream.streams.runtime import termination

MakeTopics = Callable[..., Topics]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps the brokers and workers of a test run out of the user's registry, and the user's out of the tests."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _own_state_folder(_state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives each test a registry that is empty at first: it does not see the run's common brokers."""
    monkeypatch.setenv("XDG_STATE_HOME", str(_state_folder / f"test{next(_NUMBERS)}"))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A real Kafka on free ports with a data folder of its own, for the whole run; skips where none can be had.

    Use `kafka.bootstrap`, or `Clients(kafka.kafka)`; mark such tests `broker`.
    """
    data_dir: Path = tmp_path_factory.mktemp("kafka")
    settings = BrokerSettings(kind="kafka", port=0, data_dir=data_dir)
    try:
        require_kafka(settings)
        ensure_jars(settings)
    except BrokerError as error:
        pytest.skip(f"no Apache Kafka for tests: {error}")
    broker = start_broker(settings)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def topic_prefix() -> Callable[[], str]:
    """Gives a new topic prefix (and group prefix) at every call, so that tests do not meet on one broker."""
    numbers = itertools.count(1)
    return lambda: f"t{next(numbers)}-"


@pytest.fixture
def make_topics(kafka: RunningBroker, topic_prefix: Callable[[], str]) -> MakeTopics:
    """Makes all topics of an installation under a new prefix: `make_topics(user_partitions=4, item_partitions=2)`."""

    def make(user_partitions: int = 4, item_partitions: int = 2) -> Topics:
        settings = TopicSettings(
            prefix=topic_prefix(), user_partitions=user_partitions, item_partitions=item_partitions
        )
        topics = build_topics(settings)
        admin = kafka.topic_admin()
        try:
            create_topics(admin, topics)
        finally:
            admin.close()
        return topics

    return make


def pytest_configure() -> None:
    """Make SIGTERM and SIGHUP end the run as Ctrl-C does: fixtures are torn down, and their Kafka is stopped."""
    termination.install_handlers()


def pytest_unconfigure() -> None:
    """Let go of what lanes in this process froze: torch's libraries take it for leaks, and say so at length."""
    gc.unfreeze()
