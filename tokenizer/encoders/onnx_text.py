"""Sentence encoder in ONNX Runtime: a folder with a graph and a tokenizer, run one text at a time.

Layout of the folder:

* `model.onnx` (and `model.onnx.data` or `model.onnx_data` for external weights): takes those of `input_ids`,
  `attention_mask` and `token_type_ids` that it declares; its output `sentence_embedding` is one vector per text.
  Without that output, its first output is one vector per text, or one per token, averaged over the tokens.
* `tokenizer.json`: the tokenizer, as the package `tokenizers` reads it.
* `sentence_bert_config.json`: `max_seq_length`, the maximum number of tokens. Without it the tokenizer's own limit
  applies, or 512.

Texts run one at a time, at their own length and without padding, on one thread, so that other texts cannot affect a
vector. Padding is disabled even if `tokenizer.json` enables it: MiniLM's pads every text to 128 tokens, which takes
eight times as long, and truncates there, while the model was trained with 256.
"""

import hashlib
import importlib
import json
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import CONTENT_BITS, unit_rows
from sidestream.tokenizer.content import clean_text
from sidestream.tokenizer.errors import TokenizerError

MODEL_NAME, SPLITTER_NAME, LENGTH_NAME = "model.onnx", "tokenizer.json", "sentence_bert_config.json"
_REQUIRED = (MODEL_NAME, SPLITTER_NAME)
_FILES = (*_REQUIRED, LENGTH_NAME, "model.onnx.data", "model.onnx_data")
_DEFAULT_MAX_TOKENS = 512
_CHUNK_BYTES = 1 << 20


class OnnxTextEncoder:
    """A sentence encoder in ONNX Runtime; requires the packages `onnxruntime` and `tokenizers`.

    Nothing is loaded before the first `encode` or `dim`; the fingerprint reads the files. Safe to share between
    threads.

    Args:
        folder: The encoder's folder.

    Raises:
        TokenizerError: The folder is missing or incomplete.
    """

    name = "onnx"
    # Bumped when the text-to-vector recipe below changes, because the files alone do not determine the vector.
    _RECIPE = b"nfkc-4000/alone/mean-f64/unit-16"

    def __init__(self, folder: Path) -> None:
        for required in _REQUIRED:
            if not (folder / required).is_file():
                msg = (
                    f"content encoder {folder}: expected a folder with {' and '.join(_REQUIRED)}, found no {required}; "
                    "make one with `sidestream export-encoder`, or give wordllama"
                )
                raise TokenizerError(msg)
        self._folder = folder
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def __repr__(self) -> str:
        return f"OnnxTextEncoder({str(self._folder)!r})"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that determine a vector."""
        return tuple(self._folder / name for name in _FILES if (self._folder / name).is_file())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the recipe and all files that determine a vector.

        Returns:
            64 hex digits.
        """
        digest = hashlib.sha256(self._RECIPE)
        for path in self.files:
            digest.update(f"{path.name}:{path.stat().st_size}".encode())
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        return digest.hexdigest()

    @property
    def dim(self) -> int:
        """Dimensions of a vector, from the graph."""
        return self._load().dim

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode texts, each as if it came alone.

        Args:
            texts: Any texts; they are normalized and cut by `clean_text`, then truncated to the model's tokens.

        Returns:
            Rows of unit length; zeros for a text without words.

            Shape: (num_texts, dim).

        Raises:
            TokenizerError: A package is missing, a file cannot be read, or the graph returns NaN or infinity.
        """
        loaded = self._load()
        rows = np.zeros((len(texts), loaded.dim), dtype=np.float64)
        for row, text in enumerate(texts):
            if cleaned := clean_text(text):
                rows[row] = loaded.vector(cleaned)
        if not np.isfinite(rows).all():
            msg = f"content encoder {self._folder}: returned NaN or infinity; export it again"
            raise TokenizerError(msg)
        return unit_rows(rows, CONTENT_BITS).astype(np.float32)

    def _load(self) -> "_Loaded":
        with self._lock:
            if self._loaded is None:
                self._loaded = _Loaded(self._folder)
            return self._loaded


class _Loaded:
    """Loaded graph and tokenizer."""

    def __init__(self, folder: Path) -> None:
        runtime, splitting = _package("onnxruntime"), _package("tokenizers")
        options = runtime.SessionOptions()
        # More threads would split sums differently, depending on the number of cores.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._splitter = splitting.Tokenizer.from_file(str(folder / SPLITTER_NAME))
            max_tokens = _max_tokens(folder / LENGTH_NAME, self._splitter)
            self._session = runtime.InferenceSession(
                str(folder / MODEL_NAME), options, providers=["CPUExecutionProvider"]
            )
        # Both packages raise plain Exceptions for a damaged file.
        except Exception as error:
            msg = f"content encoder {folder}: cannot be read ({' '.join(str(error).split())[:300]}); export it again"
            raise TokenizerError(msg) from error
        self._splitter.no_padding()
        self._splitter.enable_truncation(max_tokens)
        self._inputs = [given.name for given in self._session.get_inputs()]
        outputs = [output.name for output in self._session.get_outputs()]
        self._output = "sentence_embedding" if "sentence_embedding" in outputs else outputs[0]
        if unknown := set(self._inputs) - {"input_ids", "attention_mask", "token_type_ids"}:
            msg = f"content encoder {folder}: its graph takes {sorted(unknown)}, which no text gives; export it again"
            raise TokenizerError(msg)
        self.dim = len(self.vector("a"))

    def vector(self, text: str) -> npt.NDArray[np.float64]:
        split = self._splitter.encode(text)
        given = {"input_ids": split.ids, "attention_mask": split.attention_mask, "token_type_ids": split.type_ids}
        feed = {name: np.array([given[name]], dtype=np.int64) for name in self._inputs}
        (found,) = self._session.run([self._output], feed)
        vectors = np.asarray(found[0], dtype=np.float64)
        if vectors.ndim == 1:
            return vectors
        # Without padding the mask is all ones.
        mean: npt.NDArray[np.float64] = vectors.sum(axis=0) / len(vectors)
        return mean


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        msg = f"a content encoder as ONNX needs the package {name}; run pip install 'sidestream[cpu]', or use wordllama"
        raise TokenizerError(msg) from error


def _max_tokens(path: Path, splitter: Any) -> int:
    if path.is_file():
        return int(json.loads(path.read_text(encoding="utf-8"))["max_seq_length"])
    return int((splitter.truncation or {}).get("max_length", _DEFAULT_MAX_TOKENS))
