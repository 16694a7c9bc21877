"""Tokenization of the catalogue: `catalog-items.v1` in, semantic IDs on `item-sids.v1` out, live items included."""
