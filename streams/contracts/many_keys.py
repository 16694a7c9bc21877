"""The partitions of many keys at once, for batches of listens: the hashes of `partitioner` as array operations."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from sidestream.streams.contracts.partitioner import (
    FNV_OFFSET,
    FNV_PRIME,
    HASH_OF,
    MURMUR2_FACTOR,
    MURMUR2_SEED,
    NON_NEGATIVE,
)
from sidestream.streams.contracts.settings import DEFAULT_PARTITIONER, PartitionerName

Hashes = npt.NDArray[np.uint32]

# Fewer take longer together, some 40 us, than one by one.
_FEW_KEYS = 8
# Bounds the memory of one step, a key having up to a kilobyte, and keeps it in the processor's cache.
_STEP_KEYS = 1_024


def partitions_of(
    keys: Sequence[bytes], num_partitions: int, partitioner: PartitionerName = DEFAULT_PARTITIONER
) -> npt.NDArray[np.int64]:
    """Compute the partitions of many keys.

    Measured with keys of 36 bytes: 0.4 us a key for 100 keys, 0.1 us for 1,000.

    Args:
        keys: Keys of records, such as user ids in UTF-8.
        num_partitions: Partition count of the topic.
        partitioner: The hash.

    Returns:
        The partitions.

        Shape: (len(keys),).
    """
    if len(keys) < _FEW_KEYS:
        one = HASH_OF[partitioner]
        return np.array([one(key) % num_partitions for key in keys], np.int64)
    steps = [keys[first : first + _STEP_KEYS] for first in range(0, len(keys), _STEP_KEYS)]
    return np.concatenate([_HASHES_OF[partitioner](step) for step in steps]).astype(np.int64) % num_partitions


def _padded(keys: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bytes_]]:
    """Return the keys' lengths, and the keys followed by zeros, at least one, up to a common multiple of 4 bytes."""
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    return lengths, np.array(keys, dtype=f"S{(int(lengths.max()) // 4 + 1) * 4}")


def _murmur2(keys: Sequence[bytes]) -> Hashes:
    lengths, padded = _padded(keys)
    factor, num_words = np.uint32(MURMUR2_FACTOR), lengths // 4
    # Shape: (words, keys). A word past the end of its key is not mixed in.
    words = np.ascontiguousarray(padded.view("<u4").reshape(len(keys), -1).T)
    mixed = words * factor
    mixed ^= mixed >> 24
    mixed *= factor
    hashes = lengths.astype(np.uint32) ^ np.uint32(MURMUR2_SEED)
    in_all = int(num_words.min())
    for place in range(in_all):
        hashes *= factor
        hashes ^= mixed[place]
    for place in range(in_all, int(num_words.max())):
        has_word = num_words > place
        hashes[has_word] = hashes[has_word] * factor ^ mixed[place, has_word]
    has_rest = lengths % 4 > 0
    rest = words[num_words[has_rest], np.flatnonzero(has_rest)]
    hashes[has_rest] = (hashes[has_rest] ^ rest) * factor
    hashes ^= hashes >> 13
    hashes *= factor
    hashes ^= hashes >> 15
    return hashes & np.uint32(NON_NEGATIVE)


def _crc32(keys: Sequence[bytes]) -> Hashes:
    return np.fromiter(map(zlib.crc32, keys), np.uint32, len(keys))


def _fnv1a(keys: Sequence[bytes]) -> Hashes:
    lengths, padded = _padded(keys)
    prime = np.uint32(FNV_PRIME)
    # Shape: (bytes, keys).
    codes = padded.view(np.uint8).reshape(len(keys), -1).T.astype(np.uint32, order="C")
    hashes = np.full(len(keys), FNV_OFFSET, np.uint32)
    in_all = int(lengths.min())
    for place in range(in_all):
        hashes ^= codes[place]
        hashes *= prime
    for place in range(in_all, int(lengths.max())):
        has_byte = lengths > place
        hashes[has_byte] = (hashes[has_byte] ^ codes[place, has_byte]) * prime
    np.minimum(hashes, np.uint32(0) - hashes, out=hashes)
    return hashes


_HASHES_OF: Final[Mapping[PartitionerName, Callable[[Sequence[bytes]], Hashes]]] = {
    "murmur2": _murmur2,
    "crc32": _crc32,
    "fnv1a": _fnv1a,
}
