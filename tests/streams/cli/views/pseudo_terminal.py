"""A pseudo-terminal of a given size in place of stdout and stderr: what a person would see of a view."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTHS = (60, 80, 100, 120)
SGR = re.compile(r"\x1b\[[0-9;]*m")
PICTURES = "SIDESTREAM_TEST_PICTURES"


def shown(
    draw: Callable[[], None], monkeypatch, columns: int, *, term="xterm-256color", encoding="utf-8", **env
) -> str:
    """Run `draw` on a terminal of so many columns and return all bytes that reached it, line ends made plain."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    chunks: list[bytes] = []

    def read() -> None:
        while True:
            try:
                chunk = os.read(master, 65_536)
            except OSError:  # the other end was closed
                return
            if not chunk:
                return
            chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patch:
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            patch.delenv(name, raising=False)
        patch.setenv("TERM", term)
        for name, value in env.items():
            patch.setenv(name, value)
        with os.fdopen(slave, "w", encoding=encoding, newline="") as stream:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            draw()
    reader.join(10)
    os.close(master)
    return b"".join(chunks).decode(encoding).replace("\r\n", "\n")


def lines_of(text: str) -> list[str]:
    """Split into lines without styles; a line feed ends the last one."""
    return SGR.sub("", text).removesuffix("\n").split("\n")


def width_of(line: str) -> int:
    """Measure a line as a terminal without any joining does: by each character."""
    width = 0
    for char in line:
        if unicodedata.category(char) in ("Mn", "Me", "Cf"):
            continue
        width += 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
    return width


def save_picture(name: str, columns: int, text: str) -> None:
    """Save what was seen as text and SVG, where an environment variable names a folder for it."""
    if not (folder := os.environ.get(PICTURES)):
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    file = f"{folder}/{name}-{columns}"
    Path(f"{file}.txt").write_text("\n".join(lines_of(text)) + "\n")
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=columns, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(text.removesuffix("\n")), soft_wrap=True)
        Path(f"{file}.svg").write_text(console.export_svg(title=f"{name}, {columns} columns"))
