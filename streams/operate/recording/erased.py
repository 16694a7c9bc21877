"""Which records of a recording belong to erased users, by `user-erasures.v1`, however early they were recorded.

An erasure stands on its topic until a sweep ends it, once the listens topic holds nothing from before it. Of a swept
erasure the time is no longer known, only that of the sweep, which is later: of what the user had up to then, those
listens go that are no longer on their topic, and all session-starts, which may be kept longer than the listens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sidestream.streams.contracts.decode import Limits, decode_user_erasure
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import TopicRecord, read_topic
from sidestream.streams.listens.erasure.requests import SWEPT_HEADER
from sidestream.streams.operate.recording.spool import Kind, Spooled


@dataclass(slots=True)
class ErasedUsers:
    """Who is erased.

    Attributes:
        until: User id: all at or before this time goes.
        swept: User id: when the erasure ended because the listens topic holds nothing from before it.
    """

    until: dict[str, int] = field(default_factory=dict)
    swept: dict[str, int] = field(default_factory=dict)

    def holds(self, record: Spooled, begins: Mapping[tuple[Kind, int], int]) -> bool:
        """Tell whether a record must go.

        Args:
            record: A listen or a session-start.
            begins: First offset that the topic still has, by kind and partition.

        Returns:
            Whether its user is erased.
        """
        until = self.until.get(record.key)
        if until is not None and record.at <= until:
            return True
        swept_at = self.swept.get(record.key)
        if swept_at is None or record.at > swept_at:
            return False
        return record.kind == "sessions" or record.offset < begins.get((record.kind, record.partition), 0)


def read_erased(clients: Clients, topic: str, limits: Limits) -> ErasedUsers:
    """Read all of `user-erasures.v1`.

    Args:
        clients: The Kafka.
        topic: Name of the topic.
        limits: What a request must keep; workers refuse others, and so does this.

    Returns:
        Who is erased.

    Raises:
        TopicError: There is no such topic.
        BrokerError: Kafka does not answer.
    """
    erased = ErasedUsers()
    for record in read_topic(clients, topic):
        _apply(erased, record, limits)
    return erased


def _apply(erased: ErasedUsers, record: TopicRecord, limits: Limits) -> None:
    try:
        request = decode_user_erasure(record.key, record.value, record.timestamp, limits)
    except BadRecord:
        return
    user_id = (record.key or b"").decode()
    if request is not None:
        # Workers keep the latest: an earlier one that comes late changes nothing.
        erased.until[user_id] = max(request.at, erased.until.get(user_id, -1))
    elif any(name == SWEPT_HEADER for name, _ in record.headers):
        erased.swept[user_id] = record.timestamp
        erased.until.pop(user_id, None)
    else:
        erased.until.pop(user_id, None)
