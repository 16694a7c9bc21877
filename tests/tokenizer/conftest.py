import hashlib

import numpy as np
import pytest

from sidestream.tokenizer.content import WordLlamaEncoder
from sidestream.tokenizer.views import text_items


class WordHashEncoder:
    """A tiny encoder: each word a fixed random direction, each text their sum. No weights, no files."""

    name = "word-hash"

    def __init__(self, dim=48, seed=0):
        self.dim = dim
        self.seed = seed

    @property
    def fingerprint(self):
        return hashlib.sha256(f"{self.dim}-{self.seed}".encode()).hexdigest()

    def encode(self, texts):
        rows = [sum((self._direction(word) for word in text.split()), np.zeros(self.dim)) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.dim)

    def _direction(self, word):
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little") + self.seed
        return np.random.default_rng(seed).standard_normal(self.dim)


@pytest.fixture
def encoder():
    return WordHashEncoder()


@pytest.fixture(scope="session")
def word_hash():
    return WordHashEncoder()


@pytest.fixture(scope="session")
def wordllama():
    return WordLlamaEncoder()


@pytest.fixture(scope="session")
def catalogue():
    """Sixty items of three genres; listeners stay in their genre."""
    rng = np.random.default_rng(7)
    genres = ["rain forest sleep calm night", "goal match league coach derby", "crime trial court detective case"]
    words = [genre.split() for genre in genres]
    item_ids = [f"item-{index}" for index in range(60)]
    texts = [" ".join(rng.choice(words[index % 3], 3)) + f" part {index}" for index in range(60)]
    sequences = [rng.choice(np.arange(listener % 3, 57, 3), 12) for listener in range(80)]
    return text_items(item_ids, texts), sequences
