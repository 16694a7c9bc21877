"""Where a content encoder comes from: its name in the settings, or the folder that an artifact carries."""

import os
import shutil
from pathlib import Path

from sidestream.tokenizer.content import ContentEncoder, WordLlamaEncoder
from sidestream.tokenizer.encoders.onnx_text import OnnxTextEncoder
from sidestream.tokenizer.errors import TokenizerError


def open_encoder(name: str) -> ContentEncoder:
    """Open a content encoder by what the settings call it.

    Args:
        name: `wordllama`, or the path of a folder with `model.onnx` and `tokenizer.json`.

    Returns:
        The encoder.

    Raises:
        TokenizerError: There is no such folder, or it is incomplete.
    """
    return WordLlamaEncoder() if name == WordLlamaEncoder.name else OnnxTextEncoder(Path(name))


def store_encoder(encoder: ContentEncoder, folder: Path) -> None:
    """Put an encoder's files into an artifact; an encoder that comes with its package has none.

    Args:
        encoder: The encoder.
        folder: Where to; made if there is something to put there.
    """
    if not isinstance(encoder, OnnxTextEncoder):
        return
    folder.mkdir()
    for source in encoder.files:
        try:
            # A hundred megabytes: one copy on disk serves all versions that use it.
            os.link(source, folder / source.name)
        except OSError:
            shutil.copyfile(source, folder / source.name)


def stored_encoder(name: str, folder: Path) -> ContentEncoder:
    """Open the encoder that an artifact was made with.

    Args:
        name: What the artifact calls it.
        folder: Where `store_encoder` put its files.

    Returns:
        The encoder; the default where the artifact carries none and does not say another name.

    Raises:
        TokenizerError: The artifact carries no encoder of that name, or an incomplete one.
    """
    if folder.is_dir():
        return OnnxTextEncoder(folder)
    if name == OnnxTextEncoder.name:
        msg = f"the content encoder is missing: expected its folder {folder}; copy the artifact again"
        raise TokenizerError(msg)
    return WordLlamaEncoder()
