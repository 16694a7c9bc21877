"""The listen lane: timed batches of listens folded into user state, on the partitions that Faust assigned.

Faust owns membership and assignment alone. The lane reads with a consumer of its own, keeps state in a RocksDB of its
own per partition, publishes every change to `user-state-changelog.v1`, and restores from there.
"""
