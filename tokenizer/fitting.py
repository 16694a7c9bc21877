"""Owns the way from a catalogue and its listening sequences to a frozen tokenizer, and the report on what came out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tokenizer.content import ContentEncoder
from tokenizer.cooccurrence import cooccurrence_vectors
from tokenizer.errors import TokenizerError
from tokenizer.levels import fit_levels
from tokenizer.representation import Representation
from tokenizer.settings import TokenizerSettings
from tokenizer.sid import item_keys
from tokenizer.tokenizer import CatalogTokenizer, Tokenizer


@dataclass(frozen=True, slots=True)
class SidReport:
    """How a tokenizer spreads a catalogue over SIDs.

    Attributes:
        num_items: Items counted.
        num_heard: Items whose vector holds what listeners said; the others' is predicted from content.
        distinct_sids: SIDs that at least one item has.
        shared_items: Items that share their SID with another.
        largest_bucket: Items on the most crowded SID.
        codes_used: Codes of each level that some item has.
        perplexity: Per level, 2 to the entropy of the codes: as many codes if all were used alike.
    """

    num_items: int
    num_heard: int
    distinct_sids: int
    shared_items: int
    largest_bucket: int
    codes_used: tuple[int, ...]
    perplexity: tuple[float, ...]


def fit_tokenizer(
    item_ids: Sequence[str],
    texts: Sequence[str],
    sequences: Sequence[npt.NDArray[np.integer]],
    encoder: ContentEncoder,
    settings: TokenizerSettings,
    rng: np.random.Generator,
) -> CatalogTokenizer:
    """Fit a tokenizer; equal inputs and seed give an equal version on one machine.

    Args:
        item_ids: The catalogue, no two equal.
        texts: What `item_text` made of each item.
        sequences: One array of indices into `item_ids` for each listener, oldest first; the training part only. May be
            empty: then content alone decides.
        encoder: Turns texts into content vectors.
        settings: Levels, sizes, dimensions.
        rng: Draws the random parts.

    Returns:
        The frozen tokenizer with the encoder.

    Raises:
        TokenizerError: The catalogue is empty, ids repeat, texts are too few or many, or a sequence holds an index
            outside the catalogue.
    """
    if not item_ids or len(item_ids) != len(texts) or len(set(item_ids)) != len(item_ids):
        msg = (
            f"expected at least one item, ids without repeats and a text for each, got {len(item_ids)} ids "
            f"({len(set(item_ids))} distinct) and {len(texts)} texts; check the catalogue"
        )
        raise TokenizerError(msg)
    keys = item_keys(item_ids)
    content = encoder.encode(texts)
    collaborative = cooccurrence_vectors(
        sequences, len(item_ids), settings.collaborative_dim, rng, settings.cooccurrence_window
    )
    representation = Representation.fit(
        keys,
        content,
        collaborative,
        dim=settings.vector_dim,
        collaborative_dim=settings.collaborative_dim,
        content_share=settings.content_share,
    )
    levels = fit_levels(representation.represent(keys, content), settings, rng)
    return CatalogTokenizer(Tokenizer(representation, levels, encoder.name, encoder.fingerprint), encoder)


def report_sids(tokenizer: Tokenizer, codes: npt.NDArray[np.int32]) -> SidReport:
    """Count how a catalogue falls on SIDs.

    Args:
        tokenizer: The tokenizer that gave the codes.
        codes: The codes of the catalogue, at least one item.

            Shape: (N, L).

    Returns:
        The counts.
    """
    _, buckets = np.unique(codes, axis=0, return_counts=True)
    usage = [np.unique(column, return_counts=True)[1] / len(codes) for column in codes.T]
    return SidReport(
        num_items=len(codes),
        num_heard=len(tokenizer.representation.keys),
        distinct_sids=len(buckets),
        shared_items=int(buckets[buckets > 1].sum()),
        largest_bucket=int(buckets.max()),
        codes_used=tuple(len(shares) for shares in usage),
        perplexity=tuple(round(float(2.0 ** -(shares * np.log2(shares)).sum()), 2) for shares in usage),
    )
