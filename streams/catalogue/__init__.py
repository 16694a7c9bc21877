"""From `item-sids.v1` to the live catalogue snapshot of a worker: read by broadcast, swapped by reference."""
