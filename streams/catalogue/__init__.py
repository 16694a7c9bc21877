"""Catalogue of a worker: reads all of `item-sids.v1` and keeps a current snapshot, which is swapped by reference."""
