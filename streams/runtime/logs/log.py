"""Logging setup: structlog on top of the standard library, readable text on a terminal, JSON lines elsewhere.

Faust, mode and aiokafka log through the standard library; at DEBUG they build two records per message sent, which
costs more than the message, so they stay at WARNING whatever our own level is. Errors that we raise on purpose have
complete messages: they are logged without a traceback.

While Kafka is down its clients log a hundred lines a second: each line is shown once in ten seconds, and failures that
they retry are not shown for the first seconds. Values that come from records are escaped.
"""

import io
import logging
import sys
import textwrap
from typing import Any, TextIO

import structlog

from sidestream.streams.errors import SidestreamError
from sidestream.streams.runtime.logs.filters import LIBRARIES, RepeatFilter, RetryFilter, drop_rebalances, shorten_reprs
from sidestream.streams.runtime.logs.settings import LogSettings
from sidestream.streams.terminal.printable import printable
from sidestream.streams.terminal.screen import Screen

__all__ = ["RepeatFilter", "get_log", "quiet_libraries", "set_up_logging"]


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
        else [
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=Screen(lambda: stream).has_styles, exception_formatter=_write_traceback
            ),
        ]
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(drop_rebalances)
    handler.addFilter(RetryFilter())
    handler.addFilter(RepeatFilter())
    handler.addFilter(shorten_reprs)
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
    """Set libraries to WARNING, even if one of them was configured otherwise."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def get_log(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of the module with this `__name__`."""
    log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return log


def _escape(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape all strings of a line: ids and messages may come from records."""
    del logger, method
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _write_traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    # Plain: rich tracebacks, structlog's default, print local variables, which may include a client's password.
    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    # Indented, so that a line feed in a message cannot fake a separate log line.
    out.write(textwrap.indent(printable(written.getvalue(), lines=True), "  "))


def _without_our_tracebacks(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, SidestreamError):
        return True
    record.exc_info = None
    # Faust logs the end of a worker in its own words; our line follows, with what to do.
    return record.name != "faust.worker"
