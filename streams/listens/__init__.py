"""Listen lane: folds timed batches of listens into user state, for the partitions that Faust assigned.

Faust handles only group membership and assignment. The lane reads with its own consumer, keeps state in one RocksDB per
partition, publishes every change to `user-state-changelog.v1`, and restores from there.
"""
