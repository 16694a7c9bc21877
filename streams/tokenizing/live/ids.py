"""The ids of the live items: the keys of `live-states.v1`, read without a group by every worker that folds listens."""

from collections.abc import Sequence

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.service import FollowingService
from sidestream.streams.kafka.read_rules import Batch


class LiveIds(FollowingService):
    """The set of live items, slightly behind the topic; listens from before an item is known are not counted for it.

    Args:
        clients: Kafka clients.
        topic: `live-states.v1`.

    Attributes:
        current: Ids of the live items.
    """

    def __init__(self, clients: Clients, topic: TopicSpec) -> None:
        super().__init__(clients, "live items", topic)
        self.current: set[str] = set()

    def on_batches(self, batches: Sequence[Batch]) -> None:
        """Apply states, and tombstones of items that are no longer live."""
        for batch in batches:
            for record in batch.records:
                if not isinstance(record.value, Unreadable):
                    self._set_live(record.key, record.value is not None)

    def _set_live(self, key: bytes | None, is_live: bool) -> None:
        item_id = (key or b"").decode(errors="replace")
        if is_live:
            self.current.add(item_id)
        else:
            self.current.discard(item_id)
