"""Commands that the README, messages, docstrings and alerts name exist, with their options."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from sidestream.streams.cli.lazy import LazyCommand
from sidestream.streams.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
COMMAND = get_command(app)
CODE = [path for package in ("streams", "models", "tokenizer") for path in sorted((ROOT / package).rglob("*.py"))]


def named_commands(text, before):
    """Every `sidestream …`, split into words."""
    for line in re.findall(rf"(?:{before})sidestream ([^`\n#&…]+)", text.replace("\\\n", " "), re.MULTILINE):
        yield re.findall(r"'[^']*'?|\S+", line)


def require(words, where):
    command = COMMAND
    while words and words[0].startswith("--") and words[0] != "--help":
        (option,) = [param for param in command.params if words[0] in param.opts]
        words = words[1 if option.is_flag else 2 :]
    while words and words[0] != "--help" and hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, where
        while words[:1] == ["|"]:
            assert words[1] in command.commands, where
            words = words[2:]
        command = command.commands[name]
    if isinstance(command, LazyCommand):
        command = command.load()
    options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)} | {"--help"}
    assert {word for word in words if word.startswith("-") and len(word) > 1} <= options, where


def test_those_of_the_readme():
    found = list(named_commands((ROOT / "README.md").read_text(), "^|[`$&] ?"))
    assert len(found) > 30
    for words in found:
        require(words, words)


@pytest.mark.parametrize("files", [CODE, sorted((ROOT / "deploy").glob("*.yaml"))], ids=["code", "deploy"])
def test_those_in_backticks(files):
    found = [(words, path) for path in files for words in named_commands(path.read_text(), "`")]
    assert len(found) > 2
    for words, path in found:
        require(words, f"{path.relative_to(ROOT)}: {' '.join(words)}")
