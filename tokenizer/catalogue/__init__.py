"""The catalogue: which items exist, where each stands in the trie of SIDs, and who may see it.

One writer (`Catalogue`) applies updates and builds immutable snapshots; any number of readers hold a snapshot.
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
