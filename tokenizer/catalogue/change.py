"""Owns what a batch of updates makes of one item, before anything is touched."""

from dataclasses import dataclass

from sidestream.tokenizer.catalogue.facts import CatalogueUpdate


@dataclass(slots=True)
class Change:
    """What a batch of updates makes of one item."""

    item_id: str
    row: int
    order: int
    alive: bool
    upsert: CatalogueUpdate | None = None
