"""How an example ends: an error is one line; Ctrl-C, or a reader that goes away (`| head`), ends it quietly."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sidestream.streams.errors import SidestreamError

INTERRUPTED = 130


@contextmanager
def ended_quietly() -> Iterator[None]:
    """Run a program's block and end the process as a command would."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer would be written, in vain, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SidestreamError as error:
        sys.exit(f"error: {error}")
