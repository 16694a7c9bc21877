"""How the worker logs: structlog on top of the standard library, readable on a terminal, JSON lines elsewhere.

Faust, mode and aiokafka log through the standard library; at DEBUG they build two records per message sent, which
costs more than the message, so they are kept at WARNING whatever our own level is. Errors that we raise on purpose
say all in their message: they are logged without a traceback.
"""

import logging
import sys
from typing import TextIO

import structlog

from streams.errors import SidestreamError
from streams.log_settings import LogSettings

_QUIET = ("faust", "mode", "aiokafka", "kafka", "asyncio", "uvicorn")


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
