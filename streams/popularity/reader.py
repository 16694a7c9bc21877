"""Reader of all of `item-count-totals.v1` without a group: every worker ranks the whole catalogue.

A worker does not wait for it: until the totals are loaded, the catalogue has the order of the model's weights.
"""

from collections.abc import Sequence

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.service import FollowingService
from sidestream.streams.kafka.read_rules import Batch
from sidestream.streams.popularity.current_counts import CountsHub


class CountsReader(FollowingService):
    """Feeds the totals to all catalogues of a worker.

    Args:
        clients: Kafka client factory.
        topic: `item-count-totals.v1`.
        live: Receives the records.
    """

    def __init__(self, clients: Clients, topic: TopicSpec, live: CountsHub) -> None:
        super().__init__(clients, "item counts", topic)
        self._live = live

    def on_batches(self, batches: Sequence[Batch]) -> None:
        """Feed new records to the catalogues."""
        for batch in batches:
            self._live.feed((record.key, record.value) for record in batch.records)
