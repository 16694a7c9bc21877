"""The catalogue: items, the trie of their SIDs, and the rules that decide which items may be recommended.

One writer (`Catalogue`) applies updates and builds immutable snapshots, which any number of readers may hold.
"""

from sidestream.tokenizer.catalogue.catalogue import Catalogue, Vectorize
from sidestream.tokenizer.catalogue.eligibility import Eligibility
from sidestream.tokenizer.catalogue.facts import CatalogueUpdate, ItemFacts, StoredSid, facts_of
from sidestream.tokenizer.catalogue.snapshot import CatalogueSnapshot

__all__ = [
    "Catalogue",
    "CatalogueSnapshot",
    "CatalogueUpdate",
    "Eligibility",
    "ItemFacts",
    "StoredSid",
    "Vectorize",
    "facts_of",
]
