"""A command that needs an optional package says so in one line before anything starts."""

import importlib.metadata
import importlib.util
import re
import sys

import pytest

ENGINE, TRAINING, BROKER = r"sidestream\[cpu\]", r"sidestream\[train\]", r"sidestream\[embedded\]"


@pytest.fixture
def without(monkeypatch):
    """Make packages look as if they were not installed."""
    real = importlib.util.find_spec

    def hide(*names):
        def find_spec(name, package=None):
            return None if name in names else real(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


@pytest.mark.parametrize(
    ("missing", "args", "install"),
    [
        ("onnxruntime", ["worker"], ENGINE),
        ("onnxruntime", ["up"], ENGINE),
        ("onnxruntime", ["demo", "--once"], ENGINE),
        ("onnxruntime", ["evaluate", "log", "pair"], ENGINE),
        ("torch", ["train", "model", "log", "pair"], TRAINING),
        ("onnxruntime", ["train", "model", "log", "pair"], ENGINE),
        ("onnxscript", ["export", "pair"], TRAINING),
        ("torch", ["tokenizer", "train", "log", "dst", "--kinds", "vq,vq,vq"], TRAINING),
        ("onnx", ["export-encoder", "dst"], TRAINING),
        ("torch", ["demo", "--data", "data.txt"], TRAINING),
        ("confluent_kafka", ["up", "--set", "broker.kind=embedded"], BROKER),
        ("confluent_kafka", ["demo", "--set", "broker.kind=embedded"], BROKER),
    ],
)
def test_what_is_missing_is_told_at_once_with_the_command_that_installs_it(
    sidestream, without, tmp_path, missing, args, install
):
    (tmp_path / "data.txt").write_text("1 2 3\n")
    without(missing)
    (line,) = sidestream(*args, code=1).err.strip().splitlines()
    assert re.search(rf"needs {missing.replace('_', '-')}, .*pip install '{install}'", line)
    assert [path.name for path in tmp_path.iterdir()] == ["data.txt"], "nothing was started"


@pytest.mark.parametrize(
    "args",
    [
        ["replay", "log"],
        ["topics", "list"],
        ["state", "get", "u", "--set", "web.port=9"],
        ["state", "verify"],
        ["tokenizer", "generations"],
        ["dlq", "list"],
        ["live"],
        ["catalogue", "reconcile", "dump"],
        ["tokenizer", "compare", "a", "b", "--log", "log"],
        ["worker", "--set", "worker.role=tokenize", "--artifacts", "pair"],
    ],
)
def test_other_commands_do_without_all_of_them(sidestream, without, args):
    without("onnxruntime", "torch", "onnx", "onnxscript", "matplotlib", "confluent_kafka")
    assert "pip install" not in sidestream(*args, code=1).err


def test_the_extras_that_are_named_exist_and_hold_the_packages():
    from sidestream.streams.cli import extras

    wanted = importlib.metadata.requires("sidestream")
    for package, extra in (extras._ENGINE | extras._BROKER | extras._TRAINING).items():
        name = extras._NAMES.get(package, package)
        assert [line for line in wanted if re.match(rf"{name}\b", line) and f'extra == "{extra}"' in line], package
