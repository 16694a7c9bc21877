"""The user-state table on a worker's disk."""
