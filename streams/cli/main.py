"""The `sidestream` command: the root of all commands, and one line for every error."""

from typing import Annotated

import typer

from sidestream.streams.cli.lazy import RootGroup
from sidestream.streams.runtime import termination

app = typer.Typer(
    cls=RootGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Streaming, real-time, generative recommendations for audio: listens in, candidates out, over Kafka.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"sidestream {version('sidestream')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Take the options of the root; the global ones are added by its class."""


def main() -> None:
    """Run the command line; our own errors, and those of files, become one line and exit code 1."""
    termination.install_handlers()
    code: str | int | None = 0
    try:
        app()
    except SystemExit as exc:
        code = exc.code
    except KeyboardInterrupt:
        code = termination.INTERRUPTED
    except Exception as exc:
        # Not at the top: a command that goes well needs neither.
        from sidestream.streams.cli.output import fail
        from sidestream.streams.errors import SidestreamError

        if isinstance(exc, SidestreamError):
            fail(str(exc))
        elif isinstance(exc, OSError):
            fail(f"{exc.filename or 'system'}: {exc.strerror or exc!r}; check the path and its permissions")
        else:
            raise
        code = 1
    termination.exit_process(code)


if __name__ == "__main__":
    main()
