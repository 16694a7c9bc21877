"""Live popularity: counts of listens by item on `item-counts.v1`, and the ranking that workers derive from them."""
