"""Opening and storing content encoders: by name from the settings, or from an artifact's folder."""

import os
import shutil
from pathlib import Path

from sidestream.tokenizer.content import ContentEncoder, WordLlamaEncoder
from sidestream.tokenizer.encoders.onnx_text import OnnxTextEncoder
from sidestream.tokenizer.errors import TokenizerError


def open_encoder(name: str) -> ContentEncoder:
    """Open a content encoder by its name in the settings.

    Args:
        name: `wordllama`, or the path of a folder with `model.onnx` and `tokenizer.json`.

    Returns:
        The encoder.

    Raises:
        TokenizerError: The folder is missing or incomplete.
    """
    return WordLlamaEncoder() if name == WordLlamaEncoder.name else OnnxTextEncoder(Path(name))


def store_encoder(encoder: ContentEncoder, folder: Path) -> None:
    """Store an encoder's files in an artifact; an encoder that is part of an installed package has none.

    Args:
        encoder: The encoder.
        folder: Destination; created only if there are files to store.
    """
    if not isinstance(encoder, OnnxTextEncoder):
        return
    folder.mkdir()
    for source in encoder.files:
        try:
            # A hundred megabytes: one copy on disk is shared by all versions that use it.
            os.link(source, folder / source.name)
        except OSError:
            shutil.copyfile(source, folder / source.name)


def stored_encoder(name: str, folder: Path) -> ContentEncoder:
    """Open the encoder of an artifact.

    Args:
        name: Name of the encoder in the artifact.
        folder: Folder that `store_encoder` wrote.

    Returns:
        The encoder; the default one if the artifact contains no files and names no other.

    Raises:
        TokenizerError: The artifact has no encoder of that name, or an incomplete one.
    """
    if folder.is_dir():
        return OnnxTextEncoder(folder)
    if name == OnnxTextEncoder.name:
        msg = f"the content encoder is missing: expected its folder {folder}; copy the artifact again"
        raise TokenizerError(msg)
    return WordLlamaEncoder()
