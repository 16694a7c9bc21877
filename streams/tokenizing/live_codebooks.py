"""The codebooks that live items are tokenized with: those of the tokenizers that the worker has loaded."""

from collections.abc import Iterable

from sidestream.streams.tokenizing.values import ItemEncoder
from sidestream.tokenizer.live import FrozenCodebooks, LiveCodebooks
from sidestream.tokenizer.tokenizer import CatalogTokenizer


def live_codebooks(tokenizers: Iterable[ItemEncoder]) -> list[LiveCodebooks]:
    """Return the codebooks of loaded tokenizers.

    Args:
        tokenizers: The tokenizers that the worker has loaded.

    Returns:
        Codebooks of each `CatalogTokenizer`. Any other kind has no codebooks: it tokenizes catalogue events only.
    """
    return [FrozenCodebooks(tokenizer) for tokenizer in tokenizers if isinstance(tokenizer, CatalogTokenizer)]
