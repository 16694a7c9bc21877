"""The listens as published on `listen-events.v1`, by offset: what a listener's state held at a watermark.

The same rules as the worker's fold: the latest listens by time, then offset, without repeated event ids, and without
what an erasure removed. A listener's watermark is the offset of one of the listener's own listens.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from sidestream.models.history import MAX_RING
from sidestream.streams.contracts.decode import Limits, decode_listen, decode_user_erasure
from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.settings import DEFAULT_PARTITIONER, PartitionerName
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.tail import TopicRecord


class _Heard(NamedTuple):
    at: int
    offset: int
    item_id: str
    event_id: str


class ListenHistory:
    """The listens of all listeners; one caller at a time.

    Args:
        limits: What a listen must keep, as the worker judges it: others are dead letters.
        partitioner: `topics.partitioner`.
    """

    def __init__(self, limits: Limits, partitioner: PartitionerName = DEFAULT_PARTITIONER) -> None:
        self._limits, self._partitioner = limits, partitioner
        self._heard: dict[str, list[_Heard]] = defaultdict(list)
        # All of them, also repeats and erased ones: each moves the watermark.
        self._offsets: dict[str, list[int]] = defaultdict(list)
        self._judged: dict[str, int] = {}
        self._ends: dict[int, int] = {}
        self._erased_at: dict[str, int] = {}

    def begin(self, starts: Mapping[int, int]) -> None:
        """Note where reading begins.

        Args:
            starts: First offset of each partition.
        """
        self._ends |= starts

    def take(self, record: TopicRecord) -> None:
        """Add the next record of `listen-events.v1`.

        Args:
            record: It.
        """
        self._ends[record.partition] = record.offset + 1
        try:
            listen = decode_listen(record.key, record.value, record.timestamp, self._limits)
        except BadRecord:
            return
        self._offsets[listen.user_id].append(record.offset)
        heard = self._heard[listen.user_id]
        if all(listen.event_id != before.event_id for before in heard):
            heard.append(_Heard(listen.at, record.offset, listen.item_id, listen.event_id))

    def erase(self, record: TopicRecord) -> None:
        """Note the next record of `user-erasures.v1`.

        Args:
            record: It.
        """
        try:
            erasure = decode_user_erasure(record.key, record.value, record.timestamp, self._limits)
        except BadRecord:
            return
        if erasure is not None:
            self._erased_at[erasure.user_id] = max(erasure.at, self._erased_at.get(erasure.user_id, -1))

    def covers(self, user_id: str, watermark: int) -> bool:
        """Tell whether everything up to a watermark was taken.

        Args:
            user_id: Listener.
            watermark: Highest offset of the state; -1 for none.

        Returns:
            Whether `is_own` and `recent` know that state.
        """
        if watermark < 0 or not self._ends:
            return watermark < 0
        return self._ends.get(partition_of(user_id.encode(), len(self._ends), self._partitioner), 0) > watermark

    def is_own(self, user_id: str, watermark: int) -> bool:
        """Judge whether a state can be the listener's; later ones are no older.

        Args:
            user_id: Listener.
            watermark: Highest offset of the state; -1 for none.

        Returns:
            Whether the offset is that of one of the listener's listens, or there is no state.
        """
        offsets = self._offsets.get(user_id, [])
        if watermark >= 0 and watermark not in offsets[bisect_left(offsets, watermark) :][:1]:
            return False
        self._judged[user_id] = max(watermark, self._judged.get(user_id, -1))
        return True

    def recent(self, user_id: str, watermark: int) -> frozenset[str]:
        """Look up the items of a state.

        Args:
            user_id: Listener.
            watermark: Highest offset of the state; -1 for none.

        Returns:
            Items of the recent listens.
        """
        erased_at = self._erased_at.get(user_id, -1)
        heard = sorted(one for one in self._heard.get(user_id, ()) if one.offset <= watermark)
        return frozenset(one.item_id for one in heard[-MAX_RING:] if one.at > erased_at)

    def forget_past(self) -> None:
        """Keep only the latest listens of each listener: no set of an older state will be judged any more."""
        for user_id, heard in self._heard.items():
            self._heard[user_id] = sorted(heard)[-MAX_RING:]
        for user_id, offsets in self._offsets.items():
            del offsets[: bisect_left(offsets, self._judged.get(user_id, -1))]
