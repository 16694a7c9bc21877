"""The pair that workers of the matrix serve, and the pure recommender that the judge holds their answers to.

The engine depends on the listener's history and on nothing that differs between two workers: not on the order of the
catalogue's rows, nor on popularity. Some of its answers take a while, so that a kill finds session-starts that have
begun and are not answered.
"""

import hashlib
import time
from dataclasses import dataclass

import numpy as np

from sidestream.models.engine import EngineResult, Request
from sidestream.models.recommend import Recommender
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.generations.pair import Pair
from sidestream.tokenizer.catalogue import Catalogue, CatalogueSnapshot
from tests.bench.peers.constant import DIM, HashTokenizer, vectorize

MODEL_VERSION = "matrix"
# One answer in so many takes this long; the deadline is 250 ms.
SLOW_EVERY, SLOW_S = 4, 0.08
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class HistoryEngine:
    """Orders the eligible items by a hash of item and history.

    Attributes:
        slow_s: How long one answer in `SLOW_EVERY` takes.
    """

    slow_s: float = 0.0

    def recommend(self, request: Request, snapshot: CatalogueSnapshot) -> EngineResult:
        """Give the first items of the order."""
        if request.eligibility is None:
            raise ValueError("expected the rules of a session-start, got none")
        known = request.features.history_rows[request.features.history_rows >= 0]
        digest = hashlib.blake2b(snapshot.rows.keys[known].tobytes(), digest_size=8).digest()
        seed = int.from_bytes(digest, "little")
        if self.slow_s and seed % SLOW_EVERY == 0:
            time.sleep(self.slow_s)
        allowed = request.eligibility.item.copy()
        allowed[request.excluded_rows[request.excluded_rows >= 0]] = False
        rows = np.flatnonzero(allowed).astype(np.int32)
        mixed = (snapshot.rows.keys[rows] ^ np.uint64(seed)) * _MIX
        order = np.lexsort((snapshot.rows.keys[rows], mixed))[: request.num_candidates]
        scores = np.arange(order.size, 0, -1).astype(np.float32)
        return EngineResult(rows=rows[order], scores=scores, log_probs=-scores, leaves=rows[order])


def matrix_pair() -> Pair:
    """Return what a worker serves."""
    return Pair(HashTokenizer(), HistoryEngine(SLOW_S), vectorize, DIM, MODEL_VERSION)


def pure_recommender() -> Recommender:
    """Return what the judge asks; like a worker's, with default settings."""
    return Recommender(HistoryEngine(), HashTokenizer.version, MODEL_VERSION)


def empty_catalogue() -> Catalogue:
    """Return the catalogue of a worker that has read nothing."""
    tokenizer = HashTokenizer()
    return Catalogue(tokenizer.version, tokenizer.codebook_sizes, DIM, vectorize, x_dim=tokenizer.vector_dim)


def update_decoder() -> UpdateDecoder:
    """Return what reads `item-sids.v1` into it."""
    tokenizer = HashTokenizer()
    return UpdateDecoder(tokenizer.version, tokenizer.codebook_sizes, tokenizer.vector_dim)
