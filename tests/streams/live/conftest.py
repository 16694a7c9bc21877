import pytest

from streams.demo.shipped import shipped_pair
from tokenizer.artifact import load_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    """The shipped one: real words, real books."""
    return load_tokenizer(shipped_pair() / "tokenizer")
