"""User states in readable form: a listener's partition and history, read from the tables of this worker."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sidestream.models.history import describe
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.listens.lane import ListenLane
from sidestream.tokenizer.catalogue import CatalogueSnapshot


class LaneStates:
    """`UserStates` over the listen lane's tables.

    Args:
        lane: The listen lane.
        listens: `listen-events.v1`: its partitions are those of the states.
        snapshot: Returns the current catalogue, for ids and titles of items.
    """

    def __init__(self, lane: ListenLane, listens: TopicSpec, snapshot: Callable[[], CatalogueSnapshot]) -> None:
        self._lane = lane
        self._listens = listens
        self._snapshot = snapshot

    def partition_of(self, user_id: str) -> int:
        """Return the partition of a listener."""
        return self._listens.partition_of(user_id.encode())

    def owns(self, partition: int) -> bool:
        """Whether this worker owns the partition and has restored it."""
        return self._lane.is_ready(partition)

    def describe(self, user_id: str, whole_history: bool = False) -> Mapping[str, Any] | None:
        """Return a listener's state in readable form, `None` for an unknown listener.

        Args:
            user_id: The listener.
            whole_history: Whether to include all stored listens instead of the recent ones.

        Returns:
            JSON-ready values.
        """
        partition, blocks = self.partition_of(user_id), None
        if whole_history:
            state, blocks = self._lane.history(partition, user_id)
        else:
            state = self._lane.read(partition, user_id)
        if state is None:
            return None
        snapshot = self._snapshot()

        titles: dict[str, str] = {}

        def item_id_of(key: int) -> str | None:
            row = int(snapshot.row_of_key(np.array([key], dtype=np.uint64))[0])
            if row < 0:
                return None
            item_id = snapshot.item_id(row)
            titles[item_id] = snapshot.facts(row).title
            return item_id

        described = describe(state, item_id_of, blocks)
        for entry in described["history"]:
            entry["title"] = titles.get(entry["item_id"])
        return described
