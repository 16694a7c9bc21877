"""`sidestream send FILE`, `replay` and `record` on a real Kafka: what was sent comes back as a log folder."""

import json
import time

import pytest
from kafka import TopicPartition
from typer.testing import CliRunner

from sidestream.models.data import LogFolder
from sidestream.models.data.check import check_folder
from sidestream.streams.cli.main import app
from sidestream.streams.errors import DataError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.operate.recording.spool import FOLDER, Spool
from sidestream.streams.terminal import progress

pytestmark = pytest.mark.broker
T0 = time.time_ns() // 1_000_000 - 3_600_000


@pytest.fixture
def run(kafka, make_topics, tmp_path):
    prefix = make_topics().listens.name.removesuffix("listen-events.v1")
    options = ["--bootstrap", kafka.bootstrap, "--data-dir", str(tmp_path / "var"), "--set", f"topics.prefix={prefix}"]
    options += ["--set", "topics.user_partitions=4", "--set", "topics.item_partitions=2"]

    def run_it(*args, **more):
        return CliRunner().invoke(app, [*options, *map(str, args)], **more)

    return run_it


def said(done):
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout.splitlines()[-1])


def lines(rows):
    return "\n\n".join(map(json.dumps, rows)).encode()


def test_from_files_to_the_topics_and_back(run, tmp_path):
    (tmp_path / "items").write_bytes(lines({"item_id": f"i{n}", "kind": "track", "at": T0} for n in range(6)))
    (tmp_path / "listens").write_bytes(
        lines({"user_id": f"u{n % 2}", "item_id": f"i{n % 6}", "at": T0 + 1_000 * n} for n in range(40))
    )
    assert said(run("send", "item", tmp_path / "items", "--json"))["published"] == 6
    assert said(run("send", "listen", tmp_path / "listens", "--json"))["published"] == 40
    place = said(run("send", "session-start", "-", "--json", input=lines([{"user_id": "u0", "at": T0 + 50_000}])))
    assert place["topic"].endswith("session-starts.v1")

    facts = said(run("record", tmp_path / "log", "--split", "last", "--json"))
    assert (facts["listens"], facts["heldout_test"], facts["refused"]) == (38, 2, {})
    assert check_folder(tmp_path / "log").is_sound
    assert said(run("record", tmp_path / "log", "--json"))["listens"] == 40
    assert (
        said(run("record", tmp_path / "part", "--from", T0 + 30_000, "--until", T0 + 35_000, "--json"))["listens"] == 5
    )
    assert said(run("record", tmp_path / "part", "--json"))["listens"] == 10, "it goes on from the same time"
    for _ in range(2):
        assert said(run("record", tmp_path / "days", "--from", "7d", "--json"))["listens"] == 40
    done = run("record", tmp_path / "days", "--from", "6d")
    assert "record anew with --overwrite" in str(done.exception)
    assert said(run("record", tmp_path / "days", "--from", T0 + 30_000, "--overwrite", "--json"))["listens"] == 10
    said(run("state", "erase", "u1", "--no-wait", "--json"))
    facts = said(run("record", tmp_path / "log", "--json"))
    assert (facts["listens"], facts["erased"]) == (20, 20)
    assert {row.user_id for row in LogFolder(tmp_path / "log").listens()} == {"u0"}
    assert said(run("replay", tmp_path / "log", "--json"))["listens"] == 20


def test_a_folder_of_something_else_is_refused(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    done = run("record", tmp_path / "mine")
    assert isinstance(done.exception, DataError)
    assert "expected a new folder" in str(done.exception)


def test_each_stage_is_shown_and_what_retention_took_between_two_runs_is_counted_once(
    run, kafka, tmp_path, monkeypatch
):
    # As if each stage took its five seconds.
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)

    def send(first, count):
        rows = ({"user_id": "u", "item_id": "i", "at": T0 + 1_000 * n} for n in range(first, first + count))
        (tmp_path / "listens").write_bytes(lines(rows))
        said(run("send", "listen", tmp_path / "listens", "--json"))

    (tmp_path / "items").write_bytes(lines({"item_id": name, "kind": "track", "at": T0} for name in "ij"))
    said(run("send", "item", tmp_path / "items", "--json"))
    send(0, 10)
    done = run("record", tmp_path / "log", "--json")
    assert said(done)["listens"] == 10
    stages = ("read catalog  2 in ", "read listens  10 in ", "sort  12 in ", "split  10 in ", "write rows  10 in ")
    assert all(stage in done.stderr for stage in stages), done.stderr

    send(10, 5)
    state = Spool.open(tmp_path / "log" / FOLDER).state
    assert set(state.topic_ids) > set(state.topics.values())
    topic = state.topics["listens"]
    admin = Clients(kafka.kafka).admin()
    admin.delete_records(
        {TopicPartition(topic, number): 13 for number, end in state.next_offsets[topic].items() if end}
    )
    admin.close()
    for _ in range(2):
        facts = said(run("record", tmp_path / "log", "--json"))
        assert (facts["listens"], facts["lost"]) == (12, 3)
