"""An output stream for people: its width, its support of styles, and lines written to it."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Literal, TextIO

from sidestream.streams.terminal.printable import printable
from sidestream.streams.terminal.width import fold

Style = Literal["bold", "dim", "red", "yellow", "green"]

DEFAULT_COLUMNS = 80
DEFAULT_ROWS = 24
_CODES: Mapping[str, str] = {"bold": "1", "dim": "2", "red": "31", "yellow": "33", "green": "32"}
_ERASE_LINE = "\r\x1b[K"


class Screen:
    """One of the process's output streams, looked up again for every line, because tests and shells replace it.

    Args:
        stream: Returns the stream.
        environ: `COLUMNS`, `NO_COLOR` and `TERM` are read.
        may_fail: Whether lines may be lost, for example on a full disk, rather than end the command.
    """

    def __init__(
        self, stream: Callable[[], TextIO], environ: Mapping[str, str] = os.environ, *, may_fail: bool = False
    ) -> None:
        self._stream = stream
        self._environ = environ
        self._may_fail = may_fail
        self._live = ""

    @property
    def is_terminal(self) -> bool:
        """Whether the stream is a terminal."""
        try:
            return self._stream().isatty()
        except ValueError:  # closed
            return False

    @property
    def can_redraw(self) -> bool:
        """Whether a line can be redrawn."""
        return self.is_terminal and self._environ.get("TERM", "") not in ("", "dumb", "unknown")

    @property
    def has_styles(self) -> bool:
        """Whether bold, dim and colours are wanted; https://no-color.org."""
        return self.can_redraw and not self._environ.get("NO_COLOR")

    @property
    def columns(self) -> int | None:
        """Width of a line; `None` if it is unlimited: on a pipe or a file without `COLUMNS`."""
        if not self.is_terminal:
            return self._given_columns()
        # The terminal itself first: an exported COLUMNS may be older than the current window size.
        return self._size()[0] or self._given_columns() or DEFAULT_COLUMNS

    @property
    def rows(self) -> int | None:
        """Number of visible lines; `None` if the stream is not a terminal."""
        return self._size()[1] or DEFAULT_ROWS if self.is_terminal else None

    @property
    def ellipsis(self) -> str:
        """Replacement for omitted text, one column wide."""
        return "…" if self._encodes("…") else "~"

    def text(self, text: str, *, lines: bool = False) -> str:
        """Make text safe for this stream: escaped, and limited to the characters of its encoding.

        Args:
            text: Any text.
            lines: Whether to keep line feeds.

        Returns:
            Text whose width is the displayed width.
        """
        safe = printable(text, lines=lines)
        encoding = self._encoding()
        return safe.encode(encoding, "backslashreplace").decode(encoding)

    def styled(self, text: str, style: Style | None) -> str:
        """Apply a style to text if the stream supports styles."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style and text and self.has_styles else text

    def write(self, line: str) -> None:
        """Write one safe line, above the live line if there is one.

        Args:
            line: Result of `text` and `styled` only.
        """
        live = self._live
        self._put(f"{_ERASE_LINE if live else ''}{line}\n{live}")

    def say(self, text: str, style: Style | None = None) -> None:
        """Escape any text and write it, wrapped to the width of the terminal.

        Args:
            text: Any text.
            style: Its style.
        """
        safe, width = self.text(text), self.columns
        for line in [safe] if width is None else fold(safe, max(2, width)):
            self.write(self.styled(line, style))

    def show_live(self, line: str) -> None:
        """Replace the live line, the redrawn last line of a terminal; "" removes it.

        Args:
            line: Safe, and narrower than the screen.
        """
        if line or self._live:
            self._put(_ERASE_LINE + line)
        self._live = line

    def _put(self, text: str) -> None:
        stream = self._stream()
        encoding = self._encoding()
        try:
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except OSError as error:
            if isinstance(error, BrokenPipeError) or not self._may_fail:
                error.filename = stream.name
                raise

    def _size(self) -> tuple[int, int]:
        try:
            return os.get_terminal_size(self._stream().fileno())
        except (OSError, ValueError):
            return 0, 0

    def _given_columns(self) -> int | None:
        given = self._environ.get("COLUMNS", "")
        return int(given) or None if given.isdecimal() else None

    def _encoding(self) -> str:
        return self._stream().encoding or "utf-8"

    def _encodes(self, text: str) -> bool:
        try:
            text.encode(self._encoding())
        except UnicodeEncodeError:
            return False
        return True


# Results go to stdout and all messages to stderr: `--json | jq` must always work.
results = Screen(lambda: sys.stdout)
notices = Screen(lambda: sys.stderr, may_fail=True)
