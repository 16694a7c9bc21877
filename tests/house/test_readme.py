"""What the README shows is what there is."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from streams.cli.main import app
from streams.worker.watchdog import ExitCode
from tests.house.readme import rewritten

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
COMMAND = get_command(app)


def test_generated_blocks_are_up_to_date():
    assert rewritten(README) == README, "run `make readme`"


def test_named_commands_and_files_exist():
    for path in re.findall(r"`((?:streams|models|tokenizer)/[\w/]+\.py)`", README):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"`make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def named_commands():
    """Every `sidestream …` of the README, split into words."""
    whole = README.replace("\\\n", " ")
    for line in re.findall(r"(?:^|[`$&] ?)sidestream ([^`\n#&]+)", whole, re.MULTILINE):
        yield line.strip(), re.findall(r"'[^']*'?|\S+", line)


@pytest.mark.parametrize(("line", "words"), [pytest.param(*named, id=named[0]) for named in named_commands()])
def test_every_named_command_and_option_exists(line, words):
    command = COMMAND
    while words and words[0].startswith("--") and words[0] != "--help":
        (option,) = [param for param in command.params if words[0] in param.opts]
        words = words[1 if option.is_flag else 2 :]
    while words and words[0] != "--help" and hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, line
        while words[:1] == ["|"]:
            assert words[1] in command.commands, line
            words = words[2:]
        command = command.commands[name]
    options = {option for param in command.params for option in param.opts} | {"--help"}
    assert {word for word in words if word.startswith("-") and len(word) > 1} <= options, line


def test_every_exit_code_is_in_the_table():
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)] == list(ExitCode)
