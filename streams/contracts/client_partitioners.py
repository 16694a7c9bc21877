"""The configured partitioner in the forms that aiokafka and kafka-python take."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from kafka.partitioner import DefaultPartitioner

from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.settings import DEFAULT_PARTITIONER, PartitionerName

Choose = Callable[[bytes | None, Sequence[int], Sequence[int]], int]


def aiokafka_option(partitioner: PartitionerName) -> dict[str, Choose]:
    """Return the producer's option; empty for the hash that the client uses by itself."""

    def choose(key: bytes | None, all_partitions: Sequence[int], available: Sequence[int]) -> int:
        if key is None:
            return random.choice(available or all_partitions)
        return partition_of(key, len(all_partitions), partitioner)

    return {} if partitioner == DEFAULT_PARTITIONER else {"partitioner": choose}


def kafka_python_option(partitioner: PartitionerName) -> dict[str, DefaultPartitioner]:
    """Return the producer's option; empty for the hash that the client uses by itself."""
    return {} if partitioner == DEFAULT_PARTITIONER else {"partitioner": _HashPartitioner(partitioner)}


class _HashPartitioner(DefaultPartitioner):  # type: ignore[misc]  # kafka-python is untyped
    def __init__(self, partitioner: PartitionerName) -> None:
        self._partitioner = partitioner

    def partition(
        self,
        topic: str,
        key: Any,
        serialized_key: bytes | None,
        value: Any,
        serialized_value: bytes | None,
        cluster: Any,
    ) -> int:
        """Choose the partition of a record."""
        count = len(cluster.partitions_for_topic(topic) or ())
        if serialized_key is None or not count:
            return int(super().partition(topic, key, serialized_key, value, serialized_value, cluster))
        return partition_of(serialized_key, count, self._partitioner)
