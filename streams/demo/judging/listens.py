"""The listens as published on `listen-events.v1`, by offset: what a listener's state held at a watermark.

The same rules as the worker's fold: the latest listens by time, then offset, without repeated event ids, and without
what an erasure removed.
"""

from collections import defaultdict
from typing import NamedTuple

from sidestream.models.history import MAX_RING
from sidestream.streams.contracts.decode import Limits, decode_listen, decode_user_erasure
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
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._heard: dict[str, list[_Heard]] = defaultdict(list)
        self._last: dict[str, int] = {}
        self._erased_at: dict[str, int] = {}

    def take(self, record: TopicRecord) -> None:
        """Add the next record of `listen-events.v1`.

        Args:
            record: It.
        """
        try:
            listen = decode_listen(record.key, record.value, record.timestamp, self._limits)
        except BadRecord:
            return
        self._last[listen.user_id] = record.offset
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
            Whether `recent` knows what that state held.
        """
        return self._last.get(user_id, -1) >= watermark

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
