"""How the worker logs: structlog on top of the standard library, readable on a terminal, JSON lines elsewhere.

Faust, mode and aiokafka log through the standard library; at DEBUG they build two records per message sent, which
costs more than the message, so they are kept at WARNING whatever our own level is. Errors that we raise on purpose
say all in their message: they are logged without a traceback.

While Kafka is away its clients complain a hundred times a second: of each complaint one in ten seconds is shown.
"""

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

import structlog

from sidestream.streams.errors import SidestreamError
from sidestream.streams.runtime.log_settings import LogSettings

_QUIET = ("faust", "mode", "aiokafka", "kafka", "asyncio", "uvicorn")

_REPEAT_S = 10.0


class OncePerWhile(logging.Filter):
    """Lets one line of each place in a library through per while, and says how many were left out.

    Args:
        every_s: The while.
        seconds: Monotonic clock.
    """

    def __init__(self, every_s: float = _REPEAT_S, seconds: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._seconds = seconds
        self._shown: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one record; our own always pass, and so do exceptions."""
        if record.name.split(".")[0] not in _QUIET or record.exc_info:
            return True
        place, now_s = (record.name, record.lineno), self._seconds()
        shown_at_s, left_out = self._shown.get(place, (-self._every_s, 0))
        if now_s - shown_at_s < self._every_s:
            self._shown[place] = (shown_at_s, left_out + 1)
            return False
        self._shown[place] = (now_s, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like it before)", ()
        return True


def set_up_logging(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Configure structlog and the standard library once per process.

    Args:
        settings: Level and format.
        stream: Where lines go; standard error by default.
    """
    stream = stream if stream is not None else sys.stderr
    as_json = settings.format == "json" or (settings.format == "auto" and not stream.isatty())
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        # Plain tracebacks: rich ones, structlog's default, print local variables, among them a client's password.
        else [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(OncePerWhile())
    handler.addFilter(_without_our_tracebacks)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    quiet_libraries()


def quiet_libraries() -> None:
    """Keep libraries at WARNING, also after one of them was told otherwise."""
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def get_log(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module.

    Args:
        name: The module's `__name__`.

    Returns:
        The logger.
    """
    log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return log


def _without_our_tracebacks(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, SidestreamError):
        return True
    record.exc_info = None
    # Faust tells the end of a worker in its own words; ours follow, with what to do.
    return record.name != "faust.worker"
