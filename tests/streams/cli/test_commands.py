"""Commands as a user types them: results, errors in one line, exit codes."""

import json
import re
import sys

import pytest

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.cli.context import parse_assignments
from sidestream.streams.cli.output import fail, print_facts, print_rows, say
from sidestream.streams.errors import SettingsError
from sidestream.tokenizer.generations import load_alignment


def test_config_show_speaks_json_and_knows_the_source(sidestream):
    done = sidestream("--set", "lane.batch_ms=7", "config", "show", "--json", "--changed")
    assert json.loads(done.out) == [{"setting": "lane.batch_ms", "value": 7, "source": "flag"}]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "lane.batch_ms=0", "config", "show"], "lane.batch_ms"),
        (["--set", "nonsense", "config", "show"], "expected name=value"),
        (["--set", "lane=5", "--set", "lane.batch_ms=1", "config", "show"], "lane"),
        (["--set", "lane.batch_ms=[/x]", "config", "show"], 'got "[/x]"'),
        (["--set", "lane.batchms=1", "config", "show"], "unknown setting, did you mean lane.batch_ms?"),
        (["export", "absent", "--set", "lane.batchms=1"], "unknown setting"),
        (["config", "show", "--config", "absent.toml"], "absent.toml"),
        (["world", "w", "--listeners", "0"], "world.listeners"),
        (["world", "a-file/w"], "a-file"),
        (["demo", "--data", "."], "log folder with manifest.json"),
        (["--artifacts", "absent", "up"], "absent"),
        (["up", "--artifacts", "absent"], "absent"),
        (["topics", "list"], "sidestream broker start"),
        (["import", "lastfm", "absent", "out"], "absent"),
        (["evaluate", "absent", "absent"], "absent"),
        (["demo", "--data", "absent"], "absent"),
        (["state", "get", "nobody"], "no worker answers"),
        (["--artifacts", "absent", "--bootstrap", "127.0.0.1:1", "worker"], "absent"),
        (["--bootstrap", "127.0.0.1:1", "topics", "list"], "127.0.0.1:1"),
        (["state", "erase", "u"], "sidestream broker start"),
        (["catalogue", "reconcile", "absent.jsonl"], "absent.jsonl"),
        (["state", "erase", "u", "--at", "soon"], "expected a time, for example"),
        (["worker", "--log-level", "loud"], "log.level"),
    ],
)
def test_an_error_is_one_line_and_a_code(sidestream, tmp_path, args, message):
    (tmp_path / "a-file").touch()
    done = sidestream("--set", "web.port=9", *args, code=1)
    (line,) = done.err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert done.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["a-file"], "a refused command leaves nothing behind"


def test_brackets_in_values_are_shown_as_they_are(capsys):
    print_rows(
        [{"title": "[bold]Live[/bold] [/x] :smile:", "score": 12.9354248, "familiar": True}],
        ["title", "score", "familiar"],
        as_json=False,
    )
    print_facts({"name": "[/x] [red]"}, as_json=False)
    fail("got '[/x]'")
    say("[a] of [/b]")
    shown = capsys.readouterr()
    for part in ("[bold]Live[/bold] [/x] :smile:", "12.935", "yes", "[/x] [red]"):
        assert part in shown.out
    assert shown.err == "error: got '[/x]'\n[a] of [/b]\n"


def test_broker_status_says_none_runs(sidestream):
    assert json.loads(sidestream("broker", "status", "--json", code=1).out)["is_running"] is False


def test_world_and_tokenizer_from_the_command_line(sidestream, tmp_path):
    made = json.loads(sidestream("world", "w", "--listeners", "30", "--days", "3", "--json").out)
    fitted = json.loads(sidestream("tokenizer", "train", "w", "pair/tokenizer", "--json").out)
    assert fitted["num_items"] == made["items"]
    assert (tmp_path / "pair" / "tokenizer" / "manifest.json").exists()
    options = ["--kinds", "kmeans,fsq", "--sizes", "16,8", "--unheard", "--json"]
    other = json.loads(sidestream("tokenizer", "train", "w", "other", *options).out)
    assert (len(other["codes_used"]), other["unheard"]["neighbours"]) == (2, 10)
    versions = ["pair/tokenizer", "other", "--log", "w"]
    done = sidestream("tokenizer", "compare", *versions, "--alignment", "other-alignment", "--json")
    compared = json.loads(done.out)
    names = [fitted["tokenizer_version"], other["tokenizer_version"]]
    assert [compared[side]["version"] for side in ("old", "new")] == names
    made = load_alignment(tmp_path / "other-alignment", old_version=names[0], new_version=names[1])
    assert (len(made.old_sizes), made.new_sizes) == (3, (16, 8))
    told = sidestream("tokenizer", "compare", *versions, "--no-json").out
    assert "residual after 1 code" in told
    assert not re.search(r"\([\d.]+, |\[[\d.]+, ", told), "words, no bare tuples"


@pytest.mark.parametrize("given", ["kafka.security.password=hush", 'kafka={"security": {"password": "hush"}}'])
def test_a_secret_among_the_arguments_is_refused_and_not_repeated(given):
    with pytest.raises(SettingsError, match="SIDESTREAM_KAFKA__SECURITY__PASSWORD") as caught:
        parse_assignments([given])
    assert "hush" not in str(caught.value)


def test_assignments_are_json_or_text():
    assert parse_assignments(["a.b=1", "c=true", "d=x y", 'e=["p"]']) == {"a.b": 1, "c": True, "d": "x y", "e": ["p"]}


def test_a_worker_waits_for_its_kafka_as_long_as_it_is_told(sidestream_process, tmp_path):
    (port,) = free_ports(1)
    waits = ["--set", "worker.broker_wait_s=1.5", "--set", f"web.port={port}", "--set", f"data_dir={tmp_path / 'data'}"]
    with sidestream_process("worker", "--bootstrap", "127.0.0.1:1", *waits) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no answer from 127.0.0.1:1 for 2 s" in out


def test_a_reason_that_no_letter_can_have_is_refused_and_the_real_ones_are_named(sidestream):
    assert "not_json" in sidestream("dlq", "list", "--reason", "nosuch", code=2).err


def test_the_version_is_that_of_the_package(sidestream):
    from importlib.metadata import version

    assert sidestream("--version").out == f"sidestream {version('sidestream')}\n"


def test_ctrl_c_while_the_modules_load_is_as_quiet_as_later_on(monkeypatch):
    from sidestream.streams.cli import entry

    class Interrupting:
        def find_spec(self, name, *_):
            if name == "sidestream.streams.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "sidestream.streams.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130


def test_the_check_of_a_folder_without_rows_says_what_is_wrong_alone(sidestream):
    done = sidestream("log", "check", "nolog", "--no-json", code=1)
    assert not done.out
    lines = done.err.splitlines()
    assert lines[-1] == f"{len(lines) - 1} problems"
    assert all(line.startswith("error: nolog") for line in lines[:-1])


def test_no_broker_is_said_in_one_line(sidestream, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    done = sidestream("broker", "status", "--no-json", code=1)
    assert not done.out
    assert done.err.startswith("no local broker runs; ")
    assert "called radio" in sidestream("--broker", "radio", "broker", "status", "--no-json", code=1).err
