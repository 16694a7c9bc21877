"""Tokenizer and engine of a worker whose model costs nothing: what is left is the streaming."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidestream.models.engine import EngineResult, Request
from sidestream.streams.generations.pair import Pair
from sidestream.tokenizer.catalogue import CatalogueSnapshot
from sidestream.tokenizer.sid import Sid
from sidestream.tokenizer.views import ItemContent

DIM = 8


@dataclass
class Encoded:
    """What a tokenizer gives for some items."""

    codes: NDArray[np.int32]
    vectors: NDArray[np.int8]
    scales: NDArray[np.float32]


class HashTokenizer:
    """Codes and vectors from a hash of the text."""

    version = "00112233aabb"
    codebook_sizes = (256, 256, 256)
    vector_dim = DIM

    def encode_items(self, items: Sequence[ItemContent]) -> Encoded:
        """Encode items."""
        texts = [item.text for item in items]
        digests = np.array([list(hashlib.blake2b(text.encode(), digest_size=DIM).digest()) for text in texts], np.uint8)
        scales = np.full(len(texts), 0.01, np.float32)
        return Encoded(digests[:, :3].astype(np.int32), digests.view(np.int8), scales)

    def additional_sids(self, encoded: Encoded, max_sids: int, margin: float) -> list[tuple[Sid, ...]]:
        """Find none: no code is the second best of a hash."""
        del max_sids, margin
        return [()] * len(encoded.codes)


class ConstantEngine:
    """Ranks the first rows, whoever asks."""

    def recommend(self, request: Request, snapshot: CatalogueSnapshot) -> EngineResult:
        """Give the same rows every time."""
        rows = np.arange(min(request.num_candidates, snapshot.num_rows), dtype=np.int32)
        scores = np.arange(rows.size, 0, -1).astype(np.float32)
        return EngineResult(rows=rows, scores=scores, log_probs=-scores, leaves=rows)


def vectorize(
    item_ids: Sequence[str], codes: NDArray[np.int32], x: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Take the representation for the model's item vector."""
    return x.astype(np.float32), np.full(len(item_ids), 2.0, np.float32)


def constant_pair() -> Pair:
    """Return what the worker serves."""
    return Pair(HashTokenizer(), ConstantEngine(), vectorize, DIM, "constant")
