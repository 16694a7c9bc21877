"""A whole worker in a separate process, with a minimal tokenizer and engine: `session_worker.py SETTINGS`.

SETTINGS is a JSON object of dotted setting names; `engine_sleep_s` among them makes the engine slow. Secrets
come by the environment.
"""

import hashlib
import json
import sys
import time
from dataclasses import dataclass

import numpy as np

from sidestream.models.engine import EngineResult
from sidestream.streams.app import run_worker
from sidestream.streams.errors import ArtifactError, TokenizerError
from sidestream.streams.generations.pair import Pair
from sidestream.streams.settings import load_settings

DIM = 8


@dataclass
class Encoded:
    codes: np.ndarray
    vectors: np.ndarray
    scales: np.ndarray


class HashTokenizer:
    """Codes and vectors from a hash of the text and the version: equal texts have equal SIDs."""

    vector_dim = DIM

    def __init__(self, version="00112233aabb", sizes=(16, 16), refuses=None):
        self.version, self.codebook_sizes, self.refuses = version, tuple(sizes), refuses

    def encode_items(self, items):
        if self.refuses in [item.item_id for item in items]:
            raise TokenizerError(f"{self.refuses}: this version has no SID for it")
        texts, salt = [item.text for item in items], self.version.encode()
        digests = np.array(
            [list(hashlib.blake2b(text.encode(), digest_size=DIM, salt=salt).digest()) for text in texts], np.uint8
        )
        return Encoded(
            codes=(digests[:, : len(self.codebook_sizes)] % 16).astype(np.int32),
            vectors=digests.view(np.int8),
            scales=np.full(len(texts), 0.01, np.float32),
        )


class FirstRows:
    """Ranks what is allowed by row."""

    def __init__(self, sleep_s):
        self.sleep_s = sleep_s

    def recommend(self, request, snapshot):
        time.sleep(self.sleep_s)
        allowed = request.eligibility.item.copy()
        allowed[request.excluded_rows] = False
        rows = np.flatnonzero(allowed).astype(np.int32)[: request.num_candidates]
        scores = np.arange(rows.size, 0, -1).astype(np.float32)
        return EngineResult(rows=rows, scores=scores, log_probs=-scores, leaves=rows)


def vectorize(item_ids, codes, x):
    return x.astype(np.float32), np.full(len(item_ids), 2.0, np.float32)


def load(folder):
    """Load a pair folder of tests: `pair.json` with the arguments of its tokenizer."""
    try:
        described = json.loads((folder / "pair.json").read_text())
    except FileNotFoundError as error:
        raise ArtifactError(f"{folder}: no pair.json") from error
    return Pair(HashTokenizer(**described), FirstRows(0.0), vectorize, DIM, f"first-rows-{described['version']}")


def main():
    flags = json.loads(sys.argv[1])
    engine = FirstRows(flags.pop("engine_sleep_s", 0.0))
    settings, _ = load_settings(flags)
    return run_worker(settings, Pair(HashTokenizer(), engine, vectorize, DIM, "first-rows"), load)


if __name__ == "__main__":
    sys.exit(main())
