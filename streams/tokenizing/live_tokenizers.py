"""Which tokenizers live items are tokenized with: those of the pairs that a worker has loaded."""

from collections.abc import Iterable

from sidestream.streams.tokenizing.values import ItemEncoder
from sidestream.tokenizer.live import FrozenCodebooks, LiveCodebooks
from sidestream.tokenizer.tokenizer import CatalogTokenizer


def books_of(tokenizers: Iterable[ItemEncoder]) -> list[LiveCodebooks]:
    """Take the books out of loaded tokenizers.

    Args:
        tokenizers: What the worker has loaded.

    Returns:
        Books of those with an encoder and books of their own; any other only tokenizes catalogue events.
    """
    return [FrozenCodebooks(one) for one in tokenizers if isinstance(one, CatalogTokenizer)]
