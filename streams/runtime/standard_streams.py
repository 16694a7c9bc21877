"""The standard streams: there even if the process was started without them, and encoding every character.

Daemons, cron jobs and `>&-` start programs with closed streams. Python then has no object for them, and the next file
that is opened gets their descriptor: what is meant for the terminal would be written into it.
"""

import codecs
import io
import os
import sys
from typing import Final

_ENCODES_ALL: Final = "sidestream.encodes_all"
_NAMES: Final = ("stdin", "stdout", "stderr")
_PLAIN: Final = {"…": "...", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "→": "->", "×": "x"}


def prepare_standard_streams() -> None:
    """Open the null device in place of closed streams, and replace characters that the encoding of a stream lacks."""
    codecs.register_error(_ENCODES_ALL, _in_plain_characters)
    for descriptor, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            setattr(sys, name, _null_stream(descriptor))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=_ENCODES_ALL)


def _null_stream(descriptor: int) -> io.TextIOWrapper:
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor and not _is_open(descriptor):
        os.dup2(null, descriptor)
        os.close(null)
        null = descriptor
    os.set_inheritable(null, True)  # for the processes that this one starts
    mode = "r" if descriptor == 0 else "w"
    return io.TextIOWrapper(io.FileIO(null, mode), encoding="utf-8", write_through=descriptor != 0)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    plain = (_PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in missing)
    return "".join(plain), error.end
