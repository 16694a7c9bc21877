"""Live popularity: listens by item, counted by partition, added up once, and the ranking derived from the totals."""
