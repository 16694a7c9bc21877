"""The global options: one definition for all commands, taken before or after the command.

Rules where they disagree, in this order:

1. An option of the command itself (`replay --speed`) wins over any global option.
2. `--bootstrap`, `--broker`, `--data-dir`, `--artifacts` and `--log-level` win over `--set` of the same setting.
3. Of one option given twice, or one name given twice by `--set`, the last on the line counts.
4. `--broker` wins over an address in the settings file or the environment, `kafka.bootstrap` or that of a worker.
"""

import functools
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperArgument, TyperOption

PANEL = "Global options"

_JSON = typer.Option(
    "--json/--no-json", help="JSON on stdout; the default where stdout is no terminal.", rich_help_panel=PANEL
)
# A command that prints results takes `as_json: Json = False`; it is given what `prints_json` decided.
Json = Annotated[bool, _JSON]


def _print_version(asked: bool | None) -> None:
    if asked:
        from importlib.metadata import version

        from sidestream.streams.cli.output import print_text

        print_text(f"sidestream {version('sidestream')}")
        raise typer.Exit


def finite(value: float | None) -> float | None:
    """Refuse infinity and NaN: the callback of options that take a float and have no bound above."""
    if value is not None and not math.isfinite(value):
        msg = f"expected a finite number, got {value}"
        raise typer.BadParameter(msg)
    return value


def not_empty(value: str | None) -> str | None:
    """Refuse an empty text: the callback of options that name something."""
    if value is not None and not value.strip():
        msg = f"expected a text with a visible character, got {value!r}"
        raise typer.BadParameter(msg)
    return value


def _options(
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Settings file (TOML); default: sidestream.toml if there is one.", rich_help_panel=PANEL
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set one value: --set lane.batch_ms=50. May repeat.", rich_help_panel=PANEL),
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(help="Address of a Kafka; short for --set kafka.bootstrap=…", rich_help_panel=PANEL),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            help="Name of a local broker; short for --set broker.name=…", metavar="NAME", rich_help_panel=PANEL
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for state and data; short for --set data_dir=…", rich_help_panel=PANEL),
    ] = None,
    artifacts: Annotated[
        Path | None,
        typer.Option(help="Tokenizer and model to serve; short for --set artifacts=…", rich_help_panel=PANEL),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            help="debug, info, warning or error; short for --set log.level=…", metavar="LEVEL", rich_help_panel=PANEL
        ),
    ] = None,
    as_json: Annotated[bool | None, _JSON] = None,
    shows_version: Annotated[
        bool | None,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
            rich_help_panel=PANEL,
        ),
    ] = None,
) -> None:
    """Declare the options: typer reads them from this signature."""


_SHORTHANDS = {
    "bootstrap": "kafka.bootstrap",
    "broker": "broker.name",
    "data_dir": "data_dir",
    "artifacts": "artifacts",
    "log_level": "log.level",
}


@dataclass
class GlobalOptions:
    """What was given of the global options, at any place of the line.

    Attributes:
        file: `--config`.
        assignments: Every `--set`, in the order of the line.
        shorthands: Values of the short forms by dotted setting name.
        json: `--json` or `--no-json`; None where neither was given.
    """

    file: Path | None = None
    assignments: list[str] = field(default_factory=list)
    shorthands: dict[str, str] = field(default_factory=dict)
    json: bool | None = None

    @property
    def change_settings(self) -> bool:
        """Whether any of them bears on the settings."""
        return bool(self.file or self.assignments or self.shorthands)

    def take(self, name: str, value: Any) -> None:
        """Note an option that was given.

        Args:
            name: Its parameter.
            value: Its value.
        """
        if name == "config_file":
            self.file = value
        elif name == "assignments":
            self.assignments += value
        elif name == "as_json":
            self.json = value
        else:
            self.shorthands[_SHORTHANDS[name]] = str(value)


class _Argument(TyperArgument):
    """An argument that is called `LOG` in its usage, its help and its errors, as on the pages."""

    @property
    def display_name_raw(self) -> str:
        """Return its name."""
        return super().display_name_raw.upper()

    def get_usage_pieces(self, ctx: Any) -> list[str]:
        """Return its part of the usage line."""
        name = self.display_name_raw if self.required else f"[{self.display_name_raw}]"
        return [name if self.nargs == 1 else f"{name}..."]


class _Option(TyperOption):
    """An option that is shown without a value where it takes none."""

    def display_type_rich(self, ctx: Any) -> str | None:
        """Return what help shows of its value."""
        return None if self.is_flag else super().display_type_rich(ctx)


class _SparingOption(_Option):
    """An option that costs nothing where it is not given: typer imports pydantic to convert even the absent value."""

    def process_value(self, ctx: Any, value: Any) -> Any:
        """Convert a value that is there."""
        return None if value is None else super().process_value(ctx, value)


def spare(params: Iterable[Any]) -> None:
    """Make options cost nothing where they are not given.

    Args:
        params: Parameters of a command or group; changed in place.
    """
    for param in params:
        if type(param) in (TyperOption, _Option):
            param.__class__ = _SparingOption


def show_plainly(params: Iterable[Any]) -> None:
    """Make help show arguments and flags as the pages do.

    Args:
        params: Parameters of a command; changed in place.
    """
    for param in params:
        if type(param) is TyperOption:
            param.__class__ = _Option
        elif type(param) is TyperArgument:
            param.__class__ = _Argument


@functools.cache
def global_params() -> dict[str, Any]:
    """Return the parameters of the global options by name, to be added to every command and group."""
    declared = typer.Typer(add_completion=False)
    declared.command()(_options)
    params = typer.main.get_command(declared).params
    spare(params)
    return {param.name: param for param in params}


def take_options(ctx: Any) -> GlobalOptions:
    """Move the global options that a command or group was given from its parameters to the root's `obj`.

    Args:
        ctx: Context of the command or group, its line parsed.

    Returns:
        All that was given so far, by this command and the groups before it.
    """
    root = ctx.find_root()
    if not isinstance(root.obj, GlobalOptions):
        root.obj = GlobalOptions()
    given: GlobalOptions = root.obj
    for name in global_params():
        value = ctx.params.pop(name, None)
        if value is not None and value != []:
            given.take(name, value)
    return given


def prints_json(given: GlobalOptions, stdout: TextIO | None = None) -> bool:
    """Decide whether results are JSON: where it is asked for, else where stdout is no terminal.

    Args:
        given: The global options.
        stdout: By default that of the process.

    Returns:
        True for JSON, False for tables and lines.
    """
    if given.json is not None:
        return given.json
    return not (sys.stdout if stdout is None else stdout).isatty()
