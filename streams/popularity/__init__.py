"""Live popularity: the listen lane's counts by item, `item-counts.v1`, and what a worker makes of all of them."""
