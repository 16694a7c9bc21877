"""The local Kafka keeps its data in the given folder, for any folder name."""

from pathlib import Path

import pytest

from sidestream.streams.broker import BrokerSettings, RunningBroker, broker_status, start_broker, stop_broker
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, check_topics, create_topics
from sidestream.streams.errors import BrokerError

ODD = ["jürgen", "日本語 𝄞", "back\\slash", "#!:= x", " lead", "new\nline", "a, b", "50% ${x} {1}", "-dash", "trail "]


@pytest.mark.broker
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_data_stay_in_a_folder_with_any_name(
    kafka: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    folder = tmp_path.joinpath(*ODD, "kafka")
    settings = kafka.settings.model_copy(update={"data_dir": folder, "port": 0})
    topics = build_topics(TopicSettings())
    try:
        for is_first in (True, False):
            broker = start_broker(settings)
            admin = broker.topic_admin()
            if is_first:
                create_topics(admin, topics)
            assert check_topics(admin, topics) == []
            admin.close()
            assert broker_status(settings).data_dir == str(folder)
            assert stop_broker(settings)
            assert (folder / "topics" / "meta.properties").is_file()
    finally:
        stop_broker(settings)
    made = {path for path in tmp_path.rglob("*") if path.is_dir() and not path.is_relative_to(folder)}
    assert made == set(folder.parents) - set(tmp_path.parents) - {tmp_path}


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    undecodable = BrokerSettings(kind="kafka", data_dir=tmp_path / "j\udcfcrgen")
    with pytest.raises(BrokerError, match=r"broker\.data_dir.*UTF-8"):
        start_broker(undecodable)
    split = BrokerSettings(kind="kafka", data_dir=tmp_path / "data", cache_dir=tmp_path / "a:b")
    with pytest.raises(BrokerError, match=r"broker\.cache_dir.*colon"):
        start_broker(split)
