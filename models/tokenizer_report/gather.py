"""Data of the report: the items of a log in order of arrival, encoded, with the residual after each level.

Legend: N items, L levels, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sidestream.models.data import LogFolder
from sidestream.models.data.texts import content_of
from sidestream.models.errors import DataError
from sidestream.models.records import CatalogItem
from sidestream.tokenizer.content import clean_text
from sidestream.tokenizer.drift import DriftReference, describe_arrivals, residual_norms
from sidestream.tokenizer.levels import Quantizer
from sidestream.tokenizer.sid import item_keys
from sidestream.tokenizer.tokenizer import CatalogTokenizer

MAX_TITLE_CHARS = 80
Codes = npt.NDArray[np.int32]
Norms = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ReportItems:
    """A catalogue under one tokenizer, in order of arrival.

    Attributes:
        data: Name of the log folder's data, and what its events are.
        item_ids: The items.
        titles: Titles for display.
        arrived_at: Epoch milliseconds of their arrivals, in order. Shape: (N,).
        arrival_is: What counts as arrival.
        vectors: Representation vectors, in the space of the levels. Shape: (N, D).
        codes: SIDs. Shape: (N, L).
        norms: Norm of the vector, then of the residual after each level. Shape: (N, L + 1).
        arrival_codes: SIDs of the items without their listens. Shape: (N, L).
        arrival_norms: Norms of the corresponding quantization residuals. Shape: (N,).
        levels: Quantizer that gave the codes.
        version: Version of the tokenizer.
        encoder: Name of the content encoder.
        reference: Drift reference.
        own_reference: Whether the reference is the tokenizer's; else it was measured on these items.
        num_heard: Items of these that were heard in training: the tokenizer has a collaborative vector of them.
    """

    data: str
    item_ids: Sequence[str]
    titles: Sequence[str]
    arrived_at: npt.NDArray[np.int64]
    arrival_is: str
    vectors: Norms
    codes: Codes
    norms: Norms
    arrival_codes: Codes
    arrival_norms: Norms
    levels: Quantizer
    version: str
    encoder: str
    reference: DriftReference
    own_reference: bool
    num_heard: int


def gather(folder: LogFolder, tokenizer: CatalogTokenizer) -> ReportItems:
    """Encode the items of a log.

    Args:
        folder: Log folder.
        tokenizer: The tokenizer to report on.

    Returns:
        The data of the report.

    Raises:
        DataError: The log publishes no item, or is damaged.
    """
    items = _last_items(folder)
    if not items:
        msg = f"{folder.path}: expected at least one item in catalog.jsonl, got none; there is nothing to report on"
        raise DataError(msg)
    arrivals, arrival_is = _arrivals(folder)
    known = sorted((item_id for item_id in items if item_id in arrivals), key=arrivals.__getitem__)
    ordered = [items[item_id] for item_id in known]
    levels = tokenizer.tokenizer.levels
    codes, vectors = _encode(tokenizer, ordered)
    arrival_codes, arrival_vectors = _encode(_unheard(tokenizer), ordered)
    arrival_norms = residual_norms(levels, arrival_vectors, arrival_codes)
    space = vectors if levels.encoder is None else levels.encoder.encode(vectors)
    return ReportItems(
        data=f"{folder.manifest.name} ({folder.manifest.events_are})",
        item_ids=known,
        titles=[title_of(item) for item in ordered],
        arrived_at=np.array([arrivals[item_id] for item_id in known], dtype=np.int64),
        arrival_is=arrival_is,
        vectors=space,
        codes=codes,
        norms=np.stack([residual_norms(levels, vectors, codes[:, :n]) for n in range(codes.shape[1] + 1)], axis=1),
        arrival_codes=arrival_codes,
        arrival_norms=arrival_norms,
        levels=levels,
        version=tokenizer.version,
        encoder=tokenizer.encoder.name,
        reference=tokenizer.reference or describe_arrivals(arrival_codes, levels.sizes, arrival_norms),
        own_reference=tokenizer.reference is not None,
        num_heard=int(np.isin(item_keys(known), tokenizer.tokenizer.representation.keys).sum()),
    )


def title_of(item: CatalogItem) -> str:
    """Return an item's title and creator, normalized and cut, or its id if it has no title."""
    name = clean_text(item.title, MAX_TITLE_CHARS) or clean_text(item.item_id, MAX_TITLE_CHARS)
    return f"{name} · {clean_text(item.creator, MAX_TITLE_CHARS // 2)}" if item.creator else name


def _last_items(folder: LogFolder) -> dict[str, CatalogItem]:
    return {event.item_id: event.item for event in folder.catalog() if event.item is not None}


def _arrivals(folder: LogFolder) -> tuple[dict[str, int], str]:
    """Find when items arrived: when they were published, or first heard if all were published at once."""
    published: dict[str, int] = {}
    for event in folder.catalog():
        if event.item is not None:
            published.setdefault(event.item_id, event.at)
    if len(set(published.values())) > 1:
        return published, "first publication in the log"
    heard: dict[str, int] = {}
    for listen in folder.listens():
        heard.setdefault(listen.item_id, listen.at)
    if not heard:
        return published, "the order in the catalogue file: all were published at once, and none was heard"
    return heard, "first event of each item: all were published at once, and items without events are left out"


def _unheard(tokenizer: CatalogTokenizer) -> CatalogTokenizer:
    """Return the tokenizer without collaborative vectors, which encodes items as they are when they arrive."""
    arrays = tokenizer.tokenizer
    known = arrays.representation
    representation = replace(known, keys=known.keys[:0], collaborative=known.collaborative[:0])
    return replace(tokenizer, tokenizer=replace(arrays, representation=representation))


def _encode(tokenizer: CatalogTokenizer, items: Sequence[CatalogItem]) -> tuple[Codes, Norms]:
    encoded = tokenizer.encode_items([content_of(item) for item in items])
    return encoded.codes, encoded.vectors * encoded.scales.astype(np.float64)[:, None]
