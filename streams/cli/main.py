"""The `sidestream` command itself: global options, command groups, and one line for every error."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sidestream.streams.cli import (
    broker,
    catalogue,
    config,
    data,
    deadletters,
    encoders,
    erasure,
    generations,
    live,
    live_items,
    log,
    own_data,
    record,
    run,
    states,
    tokenizers,
    topics,
    training,
    versions,
)
from sidestream.streams.cli.context import Context, parse_assignments
from sidestream.streams.cli.entry import INTERRUPTED
from sidestream.streams.cli.output import fail
from sidestream.streams.errors import SidestreamError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Streaming, real-time, generative recommendations for audio: listens in, candidates out, over Kafka.",
)
app.command()(run.up)
app.command()(run.demo)
app.command()(run.worker)
app.add_typer(broker.app, name="broker")
app.add_typer(topics.app, name="topics")
app.add_typer(deadletters.app, name="dlq")
app.add_typer(data.app, name="import")
for _format in (own_data.jsonl, own_data.csv, own_data.listenbrainz, own_data.spotify, own_data.movielens):
    data.app.command()(_format)
app.command("record")(record.record)
app.add_typer(log.app, name="log")
app.add_typer(catalogue.app, name="catalogue")
app.command()(live.replay)
app.command()(live.send)
app.command()(live.tail)
app.command("live")(live_items.show)
app.add_typer(live.state_app, name="state")
for _command in (states.verify, states.rebase, states.reset, erasure.erase):
    live.state_app.command()(_command)
app.command()(training.world)
tokenizer_app = typer.Typer(no_args_is_help=True, help="Tokenizer versions: train, compare, report, roll out and back.")
for _version_command in (versions.train, versions.compare, tokenizers.report):
    tokenizer_app.command()(_version_command)
for _generation_command in (generations.rollout, generations.rollback, generations.retire, generations.generations):
    tokenizer_app.command()(_generation_command)
app.add_typer(tokenizer_app, name="tokenizer")
app.add_typer(training.train_app, name="train")
app.command()(training.evaluate)
app.command()(training.export)
app.command()(encoders.export_encoder)
app.add_typer(config.app, name="config")


@app.callback()
def options(
    ctx: typer.Context,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="Settings file (TOML); default: sidestream.toml if there is one.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Set one value: --set lane.batch_ms=50. Wins over all else.")
    ] = None,
    bootstrap: Annotated[str | None, typer.Option(help="Address of a Kafka; short for --set kafka.bootstrap=…")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for state and data; short for --set data_dir=…")] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Tokenizer and model to serve; short for --set artifacts=…")
    ] = None,
) -> None:
    """Read the global options; the settings themselves are read when a command needs them."""
    flags = parse_assignments(assignments or [])
    shorthands = {"kafka.bootstrap": bootstrap, "data_dir": data_dir, "artifacts": artifacts}
    flags |= {name: str(value) for name, value in shorthands.items() if value is not None}
    ctx.obj = Context(config_file, flags)


def main() -> None:
    """Run the command line; our own errors, and those of files, become one line and exit code 1."""
    try:
        app()
    except SidestreamError as exc:
        fail(str(exc))
        sys.exit(1)
    except OSError as exc:
        fail(f"{exc.filename or 'system'}: {exc.strerror or exc!r}; check the path and its permissions")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
