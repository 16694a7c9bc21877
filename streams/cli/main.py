"""The `sidestream` command: the root of all commands, and one line for every error."""

import typer

from sidestream.streams.cli.lazy import RootGroup
from sidestream.streams.runtime import termination
from sidestream.streams.runtime.standard_streams import prepare_standard_streams

app = typer.Typer(
    cls=RootGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Streaming, real-time, generative recommendations for audio: listens in, candidates out, over Kafka.",
)


@app.callback()
def root() -> None:
    """Take the global options, which are added by its class."""


def main() -> None:
    """Run the command line; a wrong line, our own errors and those of files become one line each.

    Where nothing reads the output any more, as in `sidestream … | head`, the process ends by SIGPIPE as other programs.
    """
    prepare_standard_streams()
    termination.install_handlers()
    try:
        code = _run()
    except BrokenPipeError:
        termination.end_by_closed_output()
    termination.exit_process(code)


def _run() -> str | int | None:
    code: str | int | None = 0
    try:
        code = app(standalone_mode=False)
    except SystemExit as exc:
        # typer and rich make exit code 1 of it.
        if isinstance(exc.__context__, BrokenPipeError):
            raise exc.__context__ from None
        code = exc.code
    except KeyboardInterrupt:
        code = termination.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as exc:
        # Not at the top: a command that goes well needs none of them.
        from sidestream.streams.cli.output import fail
        from sidestream.streams.cli.system_errors import explain_os_error
        from sidestream.streams.errors import SidestreamError

        code = 1
        if isinstance(exc, SidestreamError):
            fail(str(exc))
        elif isinstance(exc, OSError):
            fail(explain_os_error(exc))
        elif isinstance(exc, typer.TyperException):
            code = exc.exit_code
            # A group without a command has shown its help instead.
            if message := exc.format_message():
                fail(_wrong_line(exc, message))
        elif isinstance(exc, typer.Abort):
            fail("stopped at the question; nothing was changed")
        else:
            raise
    return code


def _wrong_line(exc: typer.TyperException, message: str) -> str:
    """Say what is wrong with a line that was typed, and where its help is."""
    if nearest := getattr(exc, "possibilities", None):
        message = f"{exc.message}. Did you mean {nearest[0]!r}?"
    message = message.rstrip(".").replace("Value error, ", "")  # pydantic's words for any error of ours
    ctx = getattr(exc, "ctx", None)
    command = "sidestream" if ctx is None else ctx.command_path
    return f"{command}: {message[:1].lower()}{message[1:]} (see {command} --help)"


if __name__ == "__main__":
    main()
