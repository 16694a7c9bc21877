"""Commands that are imported when they run, and the two classes by which all of them take the global options."""

import importlib
from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from sidestream.streams.cli.command_table import COMMANDS, GROUPS, Entry
from sidestream.streams.cli.options import global_params, prints_json, show_plainly, spare, take_options

# Where the modules of the table are: the folder of this package, whatever it is called.
_PACKAGE = __name__.rpartition(".")[0]


class Command(TyperCommand):
    """A command that also takes the global options; `as_json`, if its function asks for it, is decided for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shared = global_params()
        self._asks_for_json = any(param.name == "as_json" for param in self.params)
        self.params = [*(param for param in self.params if param.name not in shared), *shared.values()]

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters, `--help` among them."""
        params = super().get_params(ctx)
        show_plainly(params)
        return params

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the line and move the global options out of the command's own parameters."""
        rest = super().parse_args(ctx, args)
        take_options(ctx)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; settings on the line are checked even where the command reads none."""
        given = take_options(ctx)
        if given.change_settings:
            from sidestream.streams.cli.context import settings_of

            settings_of(ctx)
        if self._asks_for_json:
            ctx.params["as_json"] = prints_json(given)
        return super().invoke(ctx)


class LazyCommand(TyperCommand):
    """Name and one-line help of a command; its module is imported when it is asked for more.

    Args:
        name: Name of the command, without its group.
        entry: Its entry in the table.
    """

    def __init__(self, name: str, entry: Entry) -> None:
        super().__init__(name, help=entry.help, rich_help_panel=entry.panel or None)
        self._target = entry.target
        self._loaded: Command | None = None

    def load(self) -> Command:
        """Import the command's module.

        Returns:
            The command with all its parameters.
        """
        if self._loaded is None:
            module, _, function = self._target.partition(":")
            app = typer.Typer(add_completion=False)
            found = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), function)
            app.command(self.name, cls=Command)(found)
            command = typer.main.get_command(app)
            if not isinstance(command, Command):  # typer gives the class that it was told
                raise TypeError(type(command).__name__)
            self._loaded = command
        return self._loaded

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the rest of the line by the command itself."""
        return self.load().make_context(info_name, args, parent=parent, **extra)


class LazyGroup(TyperGroup):
    """A group of lazy commands that also takes the global options."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.params = [*self.params, *global_params().values()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the line and move the global options out of the group's own parameters."""
        spare(self.get_params(ctx))
        rest = super().parse_args(ctx, args)
        take_options(ctx)
        return rest


class RootGroup(LazyGroup):
    """The `sidestream` command: all groups and commands of the table."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for name, command in _commands(entry for entry in COMMANDS if " " not in entry.path):
            self.add_command(command, name)
        for group in GROUPS:
            inside = (entry for entry in COMMANDS if entry.path.startswith(f"{group.name} "))
            self.add_command(
                LazyGroup(
                    name=group.name,
                    help=group.help,
                    no_args_is_help=True,
                    rich_help_panel=group.panel,
                    commands=dict(_commands(inside)),
                )
            )


def _commands(entries: Iterable[Entry]) -> Iterable[tuple[str, LazyCommand]]:
    for entry in entries:
        name = entry.path.rpartition(" ")[2]
        yield name, LazyCommand(name, entry)
