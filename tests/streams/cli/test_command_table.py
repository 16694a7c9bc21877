"""The table of commands is what the modules hold, and the folder stays narrow."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
import typer

from sidestream.streams.cli import command_table
from sidestream.streams.cli.command_table import COMMANDS, GROUPS
from sidestream.streams.cli.lazy import Command, LazyCommand, LazyGroup
from sidestream.streams.cli.main import app
from sidestream.streams.cli.options import PANEL, global_params
from sidestream.streams.settings import Settings, walk_settings

ROOT = typer.main.get_command(app)
PACKAGE = command_table.__name__.rpartition(".")[0]


def command(path):
    group, _, name = path.rpartition(" ")
    found = (ROOT.commands[group] if group else ROOT).commands[name]
    assert isinstance(found, LazyCommand)
    return found


@pytest.mark.parametrize("entry", COMMANDS, ids=[entry.path for entry in COMMANDS])
def test_an_entry_names_a_function_whose_help_begins_alike(entry):
    loaded = command(entry.path).load()
    assert isinstance(loaded, Command)
    assert loaded.help.splitlines()[0] == entry.help
    assert loaded.name == entry.path.rpartition(" ")[2]


def test_every_command_of_the_modules_is_in_the_table():
    """What takes typer's context is a command."""
    listed = {entry.target for entry in COMMANDS}
    folder = Path(command_table.__file__).parent
    for path in sorted(folder.glob("*/*.py")):
        module = ".".join(path.relative_to(folder).with_suffix("").parts)
        for name, function in vars(importlib.import_module(f"{PACKAGE}.{module}")).items():
            if not inspect.isfunction(function) or name.startswith("_") or not function.__module__.endswith(module):
                continue
            if typer.Context in inspect.get_annotations(function, eval_str=True).values():
                assert f"{module}:{name}" in listed


def test_paths_are_unique_and_groups_have_commands():
    paths = [entry.path for entry in COMMANDS]
    assert len(set(paths)) == len(paths)
    groups = {path.rpartition(" ")[0] for path in paths} - {""}
    assert groups == {group.name for group in GROUPS}
    assert all(bool(entry.panel) == (" " not in entry.path) for entry in COMMANDS)


@pytest.mark.parametrize("entry", COMMANDS, ids=[entry.path for entry in COMMANDS])
def test_every_command_takes_every_global_option_in_a_section_of_its_own(entry):
    params = command(entry.path).load().params
    names = [param.name for param in params]
    assert len(set(names)) == len(names)
    own = {option for param in params if param.name not in global_params() for option in param.opts}
    for param in global_params().values():
        assert param in params
        assert param.rich_help_panel == PANEL
        assert not own & {*param.opts, *param.secondary_opts}


def test_groups_take_every_global_option():
    for group in (ROOT, *(ROOT.commands[group.name] for group in GROUPS)):
        assert isinstance(group, LazyGroup)
        assert set(global_params().values()) <= set(group.params)


@pytest.mark.parametrize("words", [["--help"], ["state", "-h"], ["worker", "--help"], ["state", "get", "--help"]])
def test_help_has_a_section_for_the_global_options(sidestream, words):
    shown = sidestream(*words).out
    assert PANEL in shown
    for option in ("--config", "--set", "--bootstrap", "--data-dir", "--artifacts", "--log-level", "--json"):
        assert option in shown


def test_nothing_below_knows_of_the_command_line():
    folder = Path(command_table.__file__).parent
    found = [
        path
        for path in folder.parent.rglob("*.py")
        if folder not in path.parents and re.search(r"^\s*(from|import) \S*\bcli\b", path.read_text(), re.MULTILINE)
    ]
    assert not found


def test_folders_stay_narrow():
    folder = Path(command_table.__file__).parent
    assert {
        str(path): count for path in (folder, *folder.iterdir()) if (count := len(list(path.glob("*.py")))) > 14
    } == {}


def own_params():
    """The arguments and options of every command, without the global ones."""
    for entry in COMMANDS:
        for param in command(entry.path).load().params:
            if param.name not in global_params():
                yield f"{entry.path} {param.opts[0]}", param


def test_no_parameter_of_a_command_is_called_like_a_global_one():
    """A global option takes the place of a parameter of its name."""
    for entry in COMMANDS:
        module, _, function = entry.target.partition(":")
        found = inspect.signature(getattr(importlib.import_module(f"{PACKAGE}.{module}"), function))
        assert set(found.parameters) & set(global_params()) <= {"as_json"}, entry.path


def test_help_names_every_default():
    named = {name: value for name, value, _ in walk_settings(Settings())}
    for where, param in own_params():
        if param.default is None and not param.required and not param.multiple and param.nargs == 1:
            _, found, default = param.help.partition("default: ")
            assert found, where
            if told := re.fullmatch(r"([\w.]+) \((.+)\)\.", default):
                assert {"none": "None"}.get(told[2], told[2]) == str(named[told[1]]), where


@pytest.mark.parametrize("entry", COMMANDS, ids=[entry.path for entry in COMMANDS])
def test_help_shows_flags_without_a_value_and_arguments_as_the_pages_do(entry, sidestream):
    shown = sidestream(*entry.path.split(), "--help").out
    assert "<bool>" not in shown
    assert "{" not in shown
    for param in command(entry.path).load().params:
        if param.param_type_name == "argument":
            assert re.search(rf"^ Usage: .*\W{param.metavar or param.name.upper()}\b", shown, re.MULTILINE), param.name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["help"], "sidestream: no such command 'help'"),
        (["sned"], "sidestream: no such command 'sned'. Did you mean 'send'?"),
        (["demo", "--verison"], "sidestream demo: no such option: --verison. Did you mean '--version'?"),
        (["tail"], "sidestream tail: missing argument 'TOPIC'"),
        (["tail", "a", "b"], "sidestream tail: got unexpected extra argument(s) (b)"),
        (["send", "song", "x"], "sidestream send: invalid value for 'WHAT': 'song' is not one of 'listen'"),
        (["tail", "a", "--limit", "x"], "sidestream tail: invalid value for '-n' / '--limit'"),
        (["tail", "a", "--limit"], "option '--limit' requires an argument"),
    ],
)
def test_a_wrong_line_is_told_in_one_line(sidestream, words, told):
    shown = sidestream(*words, code=2)
    assert shown.err.startswith("error: ")
    assert told in shown.err
    assert shown.err.endswith(" --help)\n")
    assert shown.err.count("\n") == 1
    assert not shown.out


@pytest.mark.parametrize("words", [["--version"], ["state", "--version"], ["tokenizer", "rollout", "--version"]])
def test_the_version_is_told_at_every_place(sidestream, words):
    assert sidestream(*words).out.startswith("sidestream ")
