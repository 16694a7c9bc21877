"""`sidestream send FILE`, `replay` and `record` on a real Kafka: what was sent comes back as a log folder."""

import json
import time

import pytest
from typer.testing import CliRunner

from sidestream.models.data import LogFolder
from sidestream.models.data.check import check_folder
from sidestream.streams.cli.main import app
from sidestream.streams.errors import DataError

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
    said(run("state", "erase", "u1", "--json"))
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
