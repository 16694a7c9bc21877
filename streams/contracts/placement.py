"""Whether records keyed by user lie in the partition of their key: others would not meet the user's state.

A producer with another partitioner than `topics.partitioner` is recognised by its first record: a dead letter, whose
detail names the setting that would fit, and a warning in the log. Nothing is folded or answered in a wrong partition.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from sidestream.streams.contracts.deadletters import SourceRecord
from sidestream.streams.contracts.decode import Reason
from sidestream.streams.contracts.many_keys import partitions_of
from sidestream.streams.contracts.partitioner import PARTITIONERS, partition_of
from sidestream.streams.contracts.settings import PartitionerName
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import BadRecord
from sidestream.streams.runtime.logs.log import get_log

_log = get_log(__name__)

WARN_EVERY_S = 60.0


class Placement:
    """Compares the partitions of one topic's records with those of their keys.

    Args:
        topic: The topic: its partition count and its partitioner.
        seconds: Monotonic clock in seconds, for the rate of warnings.
    """

    def __init__(self, topic: TopicSpec, seconds: Callable[[], float] = time.monotonic) -> None:
        self._topic, self._seconds = topic, seconds
        self._warned_s: float | None = None
        self._unreported = 0

    def misplaced(self, keys: Sequence[bytes], partition: int) -> list[bytes]:
        """Find the keys that belong to another partition; takes 0.1 to 0.4 us a key for 100 or more.

        Args:
            keys: Keys of records or states.
            partition: Where they lie.

        Returns:
            Those of another partition, in their order.
        """
        partitions = partitions_of(keys, self._topic.partitions, self._topic.partitioner)
        return [keys[place] for place in np.flatnonzero(partitions != partition).tolist()]

    def check(self, record: SourceRecord) -> None:
        """Refuse a record that lies in a wrong partition.

        Args:
            record: A record with a key.

        Raises:
            BadRecord: It belongs to another partition.
        """
        if record.key is not None and self._topic.partition_of(record.key) != record.partition:
            raise self.fault(record)

    def fault(self, record: SourceRecord) -> BadRecord:
        """Create the error of a record that lies in a wrong partition, and log it, at most once a minute.

        Args:
            record: The record.

        Returns:
            The error, for a dead letter.
        """
        fault = BadRecord(Reason.WRONG_PARTITION, self._detail(record.key or b"", record.partition))
        self._unreported += 1
        now_s = self._seconds()
        if self._warned_s is None or now_s - self._warned_s >= WARN_EVERY_S:
            _log.warning(
                "records in wrong partitions go to the dead letters: their producer uses another partitioner",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                records=self._unreported,
                detail=fault.detail,
            )
            self._warned_s, self._unreported = now_s, 0
        return fault

    def _detail(self, key: bytes, partition: int) -> str:
        configured, count = self._topic.partitioner, self._topic.partitions
        expected = f"expected partition {partition_of(key, count, configured)} of {count}, by the key's {configured}"
        fits = fitting(key, partition, count)
        if not fits:
            return (
                f"{expected}, got {partition}, which is none of the key's hashes ({', '.join(PARTITIONERS)}); its "
                "producer must leave the choice of the partition to such a partitioner"
            )
        named = " or ".join(fits)
        return (
            f"{expected}, got {partition}, by its {named}; set the producer's partitioner to {configured}, or "
            f"topics.partitioner = {named} if all producers use that"
        )


def likely_partitioner(
    keys: Sequence[bytes], partition: int, num_partitions: int, configured: PartitionerName
) -> PartitionerName:
    """Find the partitioner by which keys were distributed: the one that fits most of them.

    Args:
        keys: Keys of records or states.
        partition: Where they lie.
        num_partitions: Partition count.
        configured: The partitioner that is preferred if several fit as well.

    Returns:
        The partitioner.
    """
    names = (configured, *(name for name in PARTITIONERS if name != configured))
    return max(names, key=lambda name: int((partitions_of(keys, num_partitions, name) == partition).sum()))


def fitting(key: bytes, partition: int, num_partitions: int) -> list[PartitionerName]:
    """Return the partitioners that put a key into a partition.

    Args:
        key: Key of a record or state.
        partition: Where it lies.
        num_partitions: Partition count.

    Returns:
        Their names.
    """
    return [name for name in PARTITIONERS if partition_of(key, num_partitions, name) == partition]
