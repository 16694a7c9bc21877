"""Commands that pages, messages, docstrings and alerts name exist, with their options."""

import re

import pytest
from typer.main import get_command

from sidestream.streams.cli.lazy import LazyCommand
from sidestream.streams.cli.main import app
from tests.repository.pages import PAGES, README, ROOT, blocks, inline_code

COMMAND = get_command(app)
CODE = [path for package in ("streams", "models", "tokenizer") for path in sorted((ROOT / package).rglob("*.py"))]


def named_commands(text, before):
    """Every `sidestream …`, split into words."""
    for line in re.findall(rf"(?:{before})sidestream ([^`\n#&…]+)", text.replace("\\\n", " "), re.MULTILINE):
        yield re.findall(r"'[^']*'?|\S+", line)


def values(words, command):
    """The words that are neither options nor their values."""
    options = [param for param in command.params if param.param_type_name == "option"]
    found, rest = [], iter(words)
    for word in rest:
        option = next((param for param in options if word in (*param.opts, *param.secondary_opts)), None)
        if option is not None and not option.is_flag:
            next(rest, None)
        elif option is None and not word.startswith("--"):
            found.append(word)
    return found


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
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    if all(argument.nargs == 1 for argument in arguments):
        assert len(values(words, command)) <= len(arguments), where
    options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)} | {"--help"}
    assert {word for word in words if word.startswith("-") and len(word) > 1} <= options, where


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_those_of_the_pages(page):
    text = page.read_text()
    shown = [f"`{code}`" for code in inline_code(text)]
    shown += [f"`{line}`" for block in blocks(text) for line in block.commands]
    for words in named_commands("\n".join(shown), "`|[$&|] ?"):
        require(words, f"{page.relative_to(ROOT)}: {' '.join(words)}")


def test_the_readme_shows_more_than_a_few():
    assert len([line for block in blocks(README.read_text()) for line in block.commands]) > 15


@pytest.mark.parametrize("files", [CODE, sorted((ROOT / "deploy").glob("*.yaml"))], ids=["code", "deploy"])
def test_those_in_backticks(files):
    found = [(words, path) for path in files for words in named_commands(path.read_text(), "`")]
    assert len(found) > 2
    for words, path in found:
        require(words, f"{path.relative_to(ROOT)}: {' '.join(words)}")


def choices():
    """The values of every option that has a fixed set of them."""
    loaded = [one.load() if isinstance(one, LazyCommand) else one for one in every_command(COMMAND)]
    for param in (param for command in loaded for param in command.params):
        if param.type_descriptor.is_choice:
            values = {str(getattr(choice, "value", choice)) for choice in param.type_descriptor.choices}
            yield from ((option, values) for option in param.opts)


def every_command(command):
    inside = getattr(command, "commands", {}).values()
    return [command, *(found for one in inside for found in every_command(one))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_values_of_an_option_are_all_named(page):
    known = list(choices())
    for option, _, values in (code.partition(" ") for code in inline_code(page.read_text())):
        if option.startswith("--") and "|" in values:
            assert (option, set(values.split("|"))) in known, f"{option} {values}"
