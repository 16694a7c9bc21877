"""The partition of a key, as every producer of the contract must choose it."""

from aiokafka.partitioner import murmur2


def partition_of(key: bytes, num_partitions: int) -> int:
    """Compute the partition of a key.

    Args:
        key: The record's key, such as a user id in UTF-8.
        num_partitions: Partition count of the topic.

    Returns:
        The partition.

    Source: Kafka's default partitioner, murmur2 of the key with the sign bit cleared.
    """
    return int((murmur2(key) & 0x7FFFFFFF) % num_partitions)
