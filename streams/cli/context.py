"""What a command starts from: the settings, read once, and where each value came from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from sidestream.streams.cli.options import GlobalOptions
from sidestream.streams.errors import SettingsError
from sidestream.streams.settings import Settings, env_name, explain, given_secrets, load_settings

Group = TypeVar("Group", bound=BaseModel)
_KEY = f"{__name__}.Context"


class Context:
    """The settings of one command line; they are read when a command first asks for them.

    Args:
        options: What was given on the line.
    """

    def __init__(self, options: GlobalOptions) -> None:
        self._options = options
        self._loaded: tuple[Settings, dict[str, str]] | None = None

    @property
    def settings(self) -> Settings:
        """The merged settings."""
        return self._load()[0]

    @property
    def origins(self) -> dict[str, str]:
        """Where each value came from."""
        return self._load()[1]

    @property
    def flags(self) -> dict[str, Any]:
        """What was given on the line, by dotted name: for a worker that is started as this command was."""
        return parse_assignments(self._options.assignments) | self._options.shorthands

    @property
    def file(self) -> Path | None:
        """The settings file given on the line."""
        return self._options.file

    def _load(self) -> tuple[Settings, dict[str, str]]:
        if self._loaded is None:
            self._loaded = load_settings(self.flags, self.file)
            origins = self._loaded[1]
            if origins["broker.name"] == "flag" and origins["kafka.bootstrap"] in ("environment", "file"):
                # The address is that of another Kafka than the broker that was named on the line.
                self._loaded = load_settings(self.flags | {"kafka.bootstrap": None}, self.file)
        return self._loaded


def settings_of(ctx: typer.Context) -> Settings:
    """Give a command its settings.

    Args:
        ctx: What typer passes to the command.

    Returns:
        The merged settings.
    """
    return context_of(ctx).settings


def context_of(ctx: typer.Context) -> Context:
    """Give a command its settings with their origins.

    Args:
        ctx: What typer passes to the command.

    Returns:
        The same object at every call of one command line.
    """
    root = ctx.find_root()
    found = root.meta.get(_KEY)
    if not isinstance(found, Context):
        found = Context(root.obj if isinstance(root.obj, GlobalOptions) else GlobalOptions())
        root.meta[_KEY] = found
    return found


def with_values(group: Group, name: str, given: Mapping[str, Any]) -> Group:
    """Change values of a group as a command's own options ask, checked like any other setting.

    Args:
        group: The group.
        name: Its name in the settings.
        given: New values; None leaves a value as it is.

    Returns:
        The changed group.

    Raises:
        SettingsError: A value does not fit.
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    try:
        return type(group).model_validate({**group.model_dump(), **chosen})
    except ValidationError as exc:
        raise SettingsError(explain(exc, f"{name}.")) from exc


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` flags; a value that is JSON is taken as such, anything else as text.

    Args:
        assignments: What came after `--set`.

    Returns:
        Values by dotted name.

    Raises:
        SettingsError: There is no `=` in one of them, or one gives a secret.
    """
    flags: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            msg = f"--set {name}: expected name=value, such as --set data_dir=/var/lib/sidestream"
            raise SettingsError(msg)
        try:
            flags[name] = json.loads(text)
        except ValueError:
            flags[name] = text
    for name in given_secrets(flags):
        msg = (
            f"--set {name}=…: a secret in the arguments can be read by everybody on this machine; "
            f"give it by {env_name(name)} or in the settings file"
        )
        raise SettingsError(msg)
    return flags
