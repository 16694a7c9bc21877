"""The smallest program with typer's defaults: one command with one option."""

import typer

app = typer.Typer()


@app.command()
def greet(name: str = "you") -> None:
    """Greet somebody."""
    typer.echo(name)


if __name__ == "__main__":
    app()
