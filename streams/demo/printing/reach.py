"""How to talk with the running demo from any folder: its settings file, and commands to copy."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.running.brokers import broker_registry
from sidestream.streams.running.workers import worker_registry
from sidestream.streams.terminal.width import text_width

SETTINGS_FILE = "sidestream.toml"


@dataclass(frozen=True, slots=True)
class Command:
    """One command to copy.

    Attributes:
        about: What it does.
        words: Its arguments.
    """

    about: str
    words: tuple[str, ...]


def executable() -> tuple[str, ...]:
    """Return how `sidestream` is called on this machine from any folder: by its bare name where that finds this one."""
    own = Path(sys.executable).parent / "sidestream"
    found = shutil.which("sidestream")
    if found is not None and Path(found).resolve() == own.resolve():
        return ("sidestream",)
    return (str(own),) if own.is_file() else (sys.executable, "-m", "sidestream.streams.cli.entry")


def reach_options(settings_file: Path, broker_name: str, topics: TopicSettings) -> tuple[str, ...]:
    """Return the global options by which a command finds the demo from any folder.

    The name of its broker is enough where the registry of this machine holds both broker and worker, and the topics
    are called what commands call them by default.

    Args:
        settings_file: Written by `published_settings`.
        broker_name: The demo's local broker; empty on a Kafka whose address was given.
        topics: The demo's topics.

    Returns:
        Words between `sidestream` and the command.
    """
    addresses = {entry.bootstrap for entry in broker_registry().running() if entry.name == broker_name}
    has_worker = any(entry.bootstrap in addresses for entry in worker_registry().running())
    # Limits of records are the worker's concern.
    if has_worker and topics.prefix == TopicSettings().prefix:
        return ("--broker", broker_name)
    return ("--config", str(settings_file))


@contextmanager
def published_settings(settings_file: Path, flags: Mapping[str, Any]) -> Iterator[None]:
    """Let other commands find the demo for as long as it runs.

    Args:
        settings_file: Written, and removed at the end.
        flags: Settings by dotted name, none of them a secret.
    """
    # JSON's strings, numbers and booleans are TOML's, too; DEL is the one character that only JSON takes as it is.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in sorted(flags.items())]
    settings_file.write_text("\n".join([*lines, ""]).replace("\x7f", "\\u007f"), encoding="utf-8")
    try:
        yield
    finally:
        settings_file.unlink(missing_ok=True)


def demo_commands(user_id: str, at: int) -> Sequence[Command]:
    """Return what to try on a running demo.

    Args:
        user_id: A listener whom the worker knows.
        at: Time of the session by the log's clock: a later one would end live streams that are still to be played.

    Returns:
        Three commands, without the executable and the global options.
    """
    start = json.dumps({"user_id": user_id, "at": at}, ensure_ascii=False)
    listener = ("--", user_id) if user_id.startswith("-") else (user_id,)
    return (
        Command("what the worker knows of a listener", ("state", "get", *listener)),
        Command("start a session, wait for its candidates", ("send", "session-start", start, "--wait")),
        Command("watch all candidates as they come", ("tail", "candidates.v1")),
    )


def typed(words: Sequence[str], width: int | None) -> str:
    """Write a command as it can be typed or copied, on several lines where it is long.

    Args:
        words: Its words.
        width: Columns of the window; None for any.

    Returns:
        Lines that end with a backslash, but for the last.
    """
    lines, line = [], ""
    for word in map(shlex.quote, words):
        if line and width is not None and text_width(line) + text_width(word) + len("  \\") > width:
            lines.append(f"{line} \\")
            line = f"  {word}"
        else:
            line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])
