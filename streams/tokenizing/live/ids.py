"""Which items are live: the keys of `live-states.v1`, read by every worker that folds listens, without a group."""

from collections.abc import Sequence

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_rules import Batch
from sidestream.streams.kafka.service import FollowingService


class LiveIds(FollowingService):
    """The set of live items, a moment behind; listens from before an item is known are not counted for it.

    Args:
        clients: The Kafka.
        topic: `live-states.v1`.

    Attributes:
        now: Ids of the live items.
    """

    def __init__(self, clients: Clients, topic: TopicSpec) -> None:
        super().__init__(clients, topic)
        self.now: set[str] = set()

    def on_batches(self, batches: Sequence[Batch]) -> None:
        """Note what began and what ended.

        Args:
            batches: States, and tombstones of items that are live no more.
        """
        for batch in batches:
            for record in batch.records:
                self._note(record.key, record.value is not None)

    def _note(self, key: bytes | None, is_live: bool) -> None:
        item_id = (key or b"").decode(errors="replace")
        if is_live:
            self.now.add(item_id)
        else:
            self.now.discard(item_id)
