"""What a recording reads of one topic: from where the last run ended to where the topic ends now."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from sidestream.streams.errors import DataError
from sidestream.streams.kafka.blocking import BlockingFollower
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_rules import Place
from sidestream.streams.kafka.tail import TopicRecord, topic_record
from sidestream.streams.operate.recording.spool import ANEW


class TopicReader:
    """Reads all partitions of one topic to their ends as they are when it is opened; use it as a context manager.

    Args:
        clients: The Kafka.
        topic: Name of the topic.
        positions: Next offsets of partitions that were read before.
        since_ms: Other partitions are read from their first record with this Kafka timestamp or a later one; None reads
            them from their beginning.

    Attributes:
        begins: First offset that each partition still has.
        ends: Offset that each partition is read to.
        total: Offsets to be read, gaps and transaction markers among them.

    Raises:
        TopicError: There is no such topic.
        DataError: A partition ends before its position: the topic is another one.
        BrokerError: Kafka does not answer.
    """

    def __init__(self, clients: Clients, topic: str, positions: Mapping[int, int], since_ms: int | None = None) -> None:
        self._follower = BlockingFollower(clients, {topic: None}, restarts=False)
        is_ready = False
        try:
            bounds = self._follower.bounds
            self.begins = {place.partition: begin for place, (begin, _) in bounds.items()}
            self.ends = {place.partition: end for place, (_, end) in bounds.items()}
            self._seek(topic, positions, since_ms)
            self.total = self._follower.behind
            is_ready = True
        finally:
            if not is_ready:
                self._follower.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._follower.close()

    @property
    def positions(self) -> dict[int, int]:
        """Next offset to be read, by partition."""
        return {place.partition: position for place, position in self._follower.positions.items()}

    @property
    def done(self) -> int:
        """How many of `total` are read."""
        return self.total - self._follower.behind

    @property
    def num_lost(self) -> int:
        """Offsets that were deleted before they were read."""
        return self._follower.num_lost

    def read(self) -> Iterator[Sequence[TopicRecord]]:
        """Read to the ends.

        Yields:
            Records of one partition, in order of offsets.

        Raises:
            TopicError: The topic was recreated or truncated meanwhile.
            BrokerError: Kafka cannot be read, or nothing has come for too long.
        """
        for _, records in self._follower.to_end():
            yield [topic_record(record) for record in records]

    def _seek(self, topic: str, positions: Mapping[int, int], since_ms: int | None) -> None:
        for number, position in positions.items():
            end = self.ends.get(number, 0)
            if position > end:
                msg = (
                    f"{topic}/{number}: expected offset {position}, up to which was recorded, got a partition that "
                    f"ends at {end}: the topic was made again; {ANEW}"
                )
                raise DataError(msg)
        firsts = {} if since_ms is None else self._follower.offsets_since(since_ms)
        self._follower.seek(firsts | {Place(topic, number): position for number, position in positions.items()})
