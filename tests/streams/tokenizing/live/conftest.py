import pytest

from sidestream.streams.demo.shipped import shipped_pair
from sidestream.tokenizer.artifact import load_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    """The shipped tokenizer: real text encoder, fitted codebooks."""
    return load_tokenizer(shipped_pair() / "tokenizer")
