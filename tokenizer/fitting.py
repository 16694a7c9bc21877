"""Fitting of a tokenizer on a catalogue and its listening sequences, and the report on the result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.content import ContentEncoder
from sidestream.tokenizer.drift import DriftReference, held_out_stretch, measure_reference
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.levels import Quantizer, fit_levels
from sidestream.tokenizer.representation.cooccurrence import cooccurrence_vectors
from sidestream.tokenizer.representation.vector import Representation
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.sid import item_keys
from sidestream.tokenizer.tokenizer import CatalogTokenizer, Tokenizer
from sidestream.tokenizer.views import TEXT_VIEW, Fusion, ItemContent, fit_fusion, read_views, view_dims

# Trains levels: (vectors of the catalogue, listening sequences, settings, rng) to a frozen quantizer.
TrainLevels = Callable[
    [npt.NDArray[np.float32], Sequence[npt.NDArray[np.integer]], TokenizerSettings, np.random.Generator], Quantizer
]


@dataclass(frozen=True, slots=True)
class SidReport:
    """How a tokenizer distributes a catalogue over SIDs.

    Attributes:
        num_items: Items counted.
        num_heard: Items with a collaborative vector from listens; that of the others is predicted from content.
        distinct_sids: SIDs that at least one item has.
        shared_items: Items that share their SID with another.
        largest_bucket: Items on the SID with the most items.
        codes_used: Codes of each level that at least one item has.
        perplexity: Per level, 2 to the entropy of the codes: the equivalent number of equally used codes.
    """

    num_items: int
    num_heard: int
    distinct_sids: int
    shared_items: int
    largest_bucket: int
    codes_used: tuple[int, ...]
    perplexity: tuple[float, ...]


def fit_tokenizer(
    items: Sequence[ItemContent],
    sequences: Sequence[npt.NDArray[np.integer]],
    encoder: ContentEncoder,
    settings: TokenizerSettings,
    rng: np.random.Generator,
    train_levels: TrainLevels | None = None,
) -> CatalogTokenizer:
    """Fit a tokenizer; equal inputs and seed give an equal version on one machine.

    Args:
        items: The catalogue, with distinct ids.
        sequences: One array of indices into `items` for each listener, oldest first; the training part only. May be
            empty: then only content is used.
        encoder: Encodes texts as content vectors.
        settings: Views, levels, sizes, dimensions.
        rng: Source of randomness.
        train_levels: Trains levels of kind vq; without it only the other kinds are available.

    Returns:
        The frozen tokenizer with the encoder.

    Raises:
        TokenizerError: The catalogue is empty, ids repeat, a view's vectors do not fit or no item has them, or a
            sequence contains an index outside the catalogue.
    """
    item_ids = [item.item_id for item in items]
    if not item_ids or len(set(item_ids)) != len(item_ids):
        msg = (
            f"expected at least one item and ids without repeats, got {len(item_ids)} ids ({len(set(item_ids))} "
            "distinct); check the catalogue"
        )
        raise TokenizerError(msg)
    keys = item_keys(item_ids)
    collaborative = cooccurrence_vectors(
        sequences, len(item_ids), settings.collaborative_dim, rng, settings.cooccurrence_window
    )
    fusion, content = _content(items, encoder, settings, collaborative)
    representation = Representation.fit(
        keys,
        content,
        collaborative,
        dim=settings.vector_dim,
        collaborative_dim=settings.collaborative_dim,
        content_share=settings.content_share,
    )
    vectors = representation.represent(keys, content)
    if "vq" in settings.kinds and train_levels is not None:
        levels = train_levels(vectors, sequences, settings, rng)
    else:
        levels = fit_levels(vectors, settings, rng)
    tokenizer = Tokenizer(representation, levels, encoder.name, encoder.fingerprint, fusion)
    return CatalogTokenizer(tokenizer, encoder, _reference(tokenizer, keys, content, collaborative, settings, rng))


def _content(
    items: Sequence[ItemContent],
    encoder: ContentEncoder,
    settings: TokenizerSettings,
    collaborative: npt.NDArray[np.float32],
) -> tuple[Fusion | None, npt.NDArray[np.float32]]:
    if settings.views in ((), (TEXT_VIEW,)):
        return None, encoder.encode([item.text for item in items])
    dims = view_dims(settings.views, items, encoder)
    blocks = read_views(items, dims, encoder)
    fusion = fit_fusion(settings.views, blocks, settings.view_weights, collaborative)
    return fusion, fusion.fuse(blocks)


def _reference(
    tokenizer: Tokenizer,
    keys: npt.NDArray[np.uint64],
    content: npt.NDArray[np.float32],
    collaborative: npt.NDArray[np.floating],
    settings: TokenizerSettings,
    rng: np.random.Generator,
) -> DriftReference:
    representation, levels = tokenizer.representation, tokenizer.levels

    def refit(rows: npt.NDArray[np.intp]) -> tuple[Representation, Quantizer]:
        again = Representation.fit(
            keys[rows],
            content[rows],
            collaborative[rows],
            dim=settings.vector_dim,
            collaborative_dim=settings.collaborative_dim,
            content_share=settings.content_share,
        )
        return again, fit_levels(again.represent(keys[rows], content[rows]), settings, rng)

    # Training an encoder a second time would take as long as the first.
    stretch = None if levels.encoder is not None else held_out_stretch(refit, content, rng)
    return measure_reference(representation, levels, content, stretch)


def report_sids(tokenizer: Tokenizer, codes: npt.NDArray[np.int32]) -> SidReport:
    """Count how a catalogue is distributed over SIDs.

    Args:
        tokenizer: The tokenizer that gave the codes.
        codes: Codes of the catalogue, at least one item.

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
