import json
import re
import subprocess
import sys

import pytest

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.cli.context import parse_assignments
from sidestream.streams.cli.output import fail, print_facts, print_rows, say
from sidestream.streams.errors import SettingsError
from sidestream.tokenizer.generations import load_alignment


def sidestream(*args, cwd, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "sidestream.streams.cli.main", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(autouse=True)
def _importable(monkeypatch, request):
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))


def test_config_show_speaks_json_and_knows_the_source(tmp_path):
    done = sidestream("--set", "lane.batch_ms=7", "config", "show", "--json", "--changed", cwd=tmp_path)
    assert json.loads(done.stdout) == [{"setting": "lane.batch_ms", "value": 7, "source": "flag"}]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "lane.batch_ms=0", "config", "show"], "lane.batch_ms"),
        (["--set", "nonsense", "config", "show"], "expected name=value"),
        (["--set", "lane=5", "--set", "lane.batch_ms=1", "config", "show"], "lane"),
        (["--set", "lane.batch_ms=[/x]", "config", "show"], "got '[/x]'"),
        (["--set", "lane.batchms=1", "config", "show"], "there is no such setting"),
        (["world", "w", "--listeners", "0"], "world.listeners"),
        (["world", "a-file/w"], "a-file"),
        (["demo", "--data", "."], "log folder with manifest.json"),
        (["--artifacts", "absent", "up"], "absent"),
        (["topics", "list"], "sidestream broker start"),
        (["import", "lastfm", "absent", "out"], "absent"),
        (["evaluate", "absent", "absent"], "absent"),
        (["demo", "--data", "absent"], "absent"),
        (["state", "get", "nobody"], "no worker answers"),
        (["--artifacts", "absent", "--bootstrap", "127.0.0.1:1", "worker"], "absent"),
        (["--bootstrap", "127.0.0.1:1", "topics", "list"], "127.0.0.1:1"),
        (["state", "erase", "u"], "sidestream broker start"),
        (["catalogue", "reconcile", "absent.jsonl"], "absent.jsonl"),
        (["state", "erase", "u", "--at", "soon"], "expected a time such as"),
    ],
)
def test_an_error_is_one_line_and_a_code(tmp_path, args, message):
    (tmp_path / "a-file").touch()
    done = sidestream("--set", "web.port=9", *args, cwd=tmp_path, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert done.stdout == ""
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


def test_broker_status_says_none_runs(tmp_path):
    done = sidestream("broker", "status", "--json", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["is_running"] is False


def test_world_and_tokenizer_from_the_command_line(tmp_path):
    made = json.loads(sidestream("world", "w", "--listeners", "30", "--days", "3", "--json", cwd=tmp_path).stdout)
    fitted = json.loads(sidestream("tokenizer", "train", "w", "pair/tokenizer", "--json", cwd=tmp_path).stdout)
    assert fitted["num_items"] == made["items"]
    assert (tmp_path / "pair" / "tokenizer" / "manifest.json").exists()
    options = ["--kinds", "kmeans,fsq", "--sizes", "16,8", "--unheard", "--json"]
    other = json.loads(sidestream("tokenizer", "train", "w", "other", *options, cwd=tmp_path).stdout)
    assert (len(other["codes_used"]), other["unheard"]["neighbours"]) == (2, 10)
    versions = ["pair/tokenizer", "other", "--log", "w"]
    done = sidestream("tokenizer", "compare", *versions, "--alignment", "other-alignment", "--json", cwd=tmp_path)
    compared = json.loads(done.stdout)
    names = [fitted["tokenizer_version"], other["tokenizer_version"]]
    assert [compared[side]["version"] for side in ("old", "new")] == names
    made = load_alignment(tmp_path / "other-alignment", old_version=names[0], new_version=names[1])
    assert (len(made.old_sizes), made.new_sizes) == (3, (16, 8))
    told = sidestream("tokenizer", "compare", *versions, cwd=tmp_path).stdout
    assert "residual after 1 code" in told
    assert not re.search(r"\([\d.]+, |\[[\d.]+, ", told), "words, no bare tuples"


@pytest.mark.parametrize("given", ["kafka.security.password=hush", 'kafka={"security": {"password": "hush"}}'])
def test_a_secret_among_the_arguments_is_refused_and_not_repeated(given):
    with pytest.raises(SettingsError, match="SIDESTREAM_KAFKA__SECURITY__PASSWORD") as caught:
        parse_assignments([given])
    assert "hush" not in str(caught.value)


def test_assignments_are_json_or_text():
    assert parse_assignments(["a.b=1", "c=true", "d=x y", 'e=["p"]']) == {"a.b": 1, "c": True, "d": "x y", "e": ["p"]}


def test_a_worker_waits_for_its_kafka_as_long_as_it_is_told(tmp_path):
    (port,) = free_ports(1)
    waits = ["--set", "worker.broker_wait_s=1.5", "--set", f"web.port={port}", "--set", f"data_dir={tmp_path / 'data'}"]
    done = sidestream("--bootstrap", "127.0.0.1:1", *waits, "worker", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "no answer from 127.0.0.1:1 for 2 s" in done.stdout + done.stderr


def test_a_reason_that_no_letter_can_have_is_refused_and_the_real_ones_are_named(tmp_path):
    done = sidestream("dlq", "list", "--reason", "nosuch", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "not_json" in done.stderr
