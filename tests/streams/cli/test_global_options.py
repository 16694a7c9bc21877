"""Global options before and after the command, and what counts where they disagree."""

import io
import json

import pytest

from sidestream.streams.cli.options import GlobalOptions, prints_json

PLACES = [
    lambda options: [*options, "config", "show", "--changed"],
    lambda options: ["config", *options, "show", "--changed"],
    lambda options: ["config", "show", "--changed", *options],
]


def changed(done):
    return {row["setting"]: row["value"] for row in json.loads(done.out)}


@pytest.mark.parametrize("place", PLACES, ids=["root", "group", "command"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--set", "lane.batch_ms=7"], {"lane.batch_ms": 7}),
        (["--bootstrap", "b:1"], {"kafka.bootstrap": "b:1"}),
        (["--data-dir", "d"], {"data_dir": "d"}),
        (["--artifacts", "a"], {"artifacts": "a"}),
        (["--log-level", "debug"], {"log.level": "debug"}),
        (["--config", "c.toml"], {"web.port": 99}),
        (["--json"], {}),
    ],
)
def test_every_global_option_is_taken_at_every_place(sidestream, tmp_path, place, options, expected):
    (tmp_path / "c.toml").write_text("[web]\nport = 99\n")
    assert changed(sidestream(*place(options))) == expected


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        # The last on the line counts, of values with one name alone.
        (["--set", "lane.batch_ms=7", "--set", "web.port=9", "config", "show", "--set", "lane.batch_ms=8"], 8),
        (["config", "show", "--set", "lane.batch_ms=7", "--set", "lane.batch_ms=8", "--set", "web.port=9"], 8),
        (["--config", "nowhere.toml", "config", "--config", "c.toml", "show", "--set", "web.port=9"], 3),
    ],
)
def test_the_last_on_the_line_counts(sidestream, tmp_path, args, expected):
    (tmp_path / "c.toml").write_text("[lane]\nbatch_ms = 3\n")
    assert changed(sidestream(*args, "--changed")) == {"lane.batch_ms": expected, "web.port": 9}


@pytest.mark.parametrize(
    "args",
    [
        ["--bootstrap", "b:1", "config", "show", "--set", "kafka.bootstrap=c:1"],
        ["--set", "kafka.bootstrap=c:1", "config", "show", "--bootstrap", "b:1"],
        ["--bootstrap", "a:1", "config", "show", "--set", "kafka.bootstrap=c:1", "--bootstrap", "b:1"],
    ],
)
def test_a_short_form_wins_over_set(sidestream, args):
    assert changed(sidestream(*args, "--changed")) == {"kafka.bootstrap": "b:1"}


def test_a_broker_that_is_named_wins_over_addresses_of_file_and_environment(sidestream, tmp_path, monkeypatch):
    (tmp_path / "sidestream.toml").write_text("[kafka]\nbootstrap = 'b:1'\n[web]\nport = 99\n")
    monkeypatch.setenv("SIDESTREAM_WEB__HOST", "10.0.0.1")
    for words in (
        ["tail", "candidates.v1"],
        ["send", "listen", '{"user_id": "u", "item_id": "i"}'],
        ["state", "get", "u"],
    ):
        assert "expected a running local broker named 'radio'" in sidestream("--broker", "radio", *words, code=1).err
    assert "b:1" in sidestream("tail", "candidates.v1", code=1).err
    both = sidestream("--broker", "radio", "--bootstrap", "c:1", "tail", "candidates.v1", code=1)
    assert "c:1" in both.err
    asked = sidestream("--broker", "radio", "state", "get", "u", "--set", "web.port=9", code=1)
    assert ":9/v1/users/u/state" in asked.err


def test_an_option_of_the_command_wins_over_a_global_one(sidestream):
    done = sidestream("world", "w", "--listeners", "-4", "--set", "world.listeners=30", code=1)
    assert "world.listeners" in done.err
    assert "-4" in done.err


def test_json_is_for_programs_unless_somebody_says_otherwise():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stdout, default in ((io.StringIO(), True), (Terminal(), False)):
        assert prints_json(GlobalOptions(), stdout) is default
        assert prints_json(GlobalOptions(json=True), stdout)
        assert not prints_json(GlobalOptions(json=False), stdout)


@pytest.mark.parametrize(
    ("args", "is_json"),
    [
        ([], True),
        (["--no-json"], False),
        (["--no-json", "--json"], True),
    ],
)
def test_a_command_prints_as_the_rule_says(sidestream, args, is_json):
    for line in ([*args, "broker", "status"], ["broker", "status", *args]):
        shown = sidestream(*line, code=1).out
        assert shown.startswith("{") is is_json
    shown = sidestream("--json", "broker", "status", "--no-json", code=1).out
    assert not shown.startswith("{")
