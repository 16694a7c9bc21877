"""The catalogue as published on `item-sids.v1`, by offset: what any snapshot held of an item can be looked up.

The same rule as the worker's catalogue: an older catalogue event never replaces a newer one, a tombstone always
removes. An item stays in its partition, so its records have one order.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidestream.models.records import ItemSids
from sidestream.streams.kafka.tail import TopicRecord
from sidestream.tokenizer.sid import format_sid

_BEFORE_ALL = (-2, 0)


@dataclass(frozen=True, slots=True)
class Published:
    """What one record made of an item.

    Attributes:
        offset: Of the record.
        order: Of the newest catalogue event so far: source offset and revision.
        item: What the catalogue holds from then on, without vectors; None where it holds none.
        sids: All SIDs of the item, as people read them, by tokenizer version.
    """

    offset: int
    order: tuple[int, int]
    item: ItemSids | None
    sids: Mapping[str, frozenset[str]]


class CatalogueHistory:
    """All states of all items; one caller at a time."""

    def __init__(self) -> None:
        self._items: dict[str, list[Published]] = defaultdict(list)
        self._partitions: dict[str, int] = {}
        self._ends: dict[int, int] = {}

    def begin(self, starts: Mapping[int, int]) -> None:
        """Note where reading begins.

        Args:
            starts: First offset of each partition.
        """
        self._ends |= starts

    def take(self, record: TopicRecord) -> None:
        """Add the next record of its partition.

        Args:
            record: Of `item-sids.v1`.
        """
        self._ends[record.partition] = record.offset + 1
        item_id = (record.key or b"").decode(errors="replace")
        self._partitions[item_id] = record.partition
        states = self._items[item_id]
        order = states[-1].order if states else _BEFORE_ALL
        if record.value is None:
            states.append(Published(record.offset, order, None, {}))
            return
        item = ItemSids.from_json(record.value)
        told = (item.source_offset, item.revision or 0)
        if told >= order:
            sids = {
                version: frozenset(map(format_sid, (found.sid, *(found.more_sids or ()))))
                for version, found in item.versions.items()
            }
            states.append(Published(record.offset, told, item.model_copy(update={"versions": {}}), sids))

    def covers(self, offsets: Sequence[int] | None) -> bool:
        """Tell whether everything below these offsets was taken.

        Args:
            offsets: By partition, as a candidate set names them; None names no snapshot.

        Returns:
            Whether a set that names them can be judged.
        """
        return offsets is None or all(self._ends.get(p, 0) >= offset for p, offset in enumerate(offsets))

    def states(self, item_id: str, offsets: Sequence[int] | None) -> list[Published]:
        """Look up what a snapshot may have held of an item.

        Args:
            item_id: Item.
            offsets: Of the snapshot, by partition; None where it is not named.

        Returns:
            Oldest first: the one state at those offsets, every state so far where none are named, nothing where the
            item was not published by then.
        """
        states = self._items.get(item_id, [])
        if offsets is None:
            return list(states)
        partition = self._partitions.get(item_id, 0)
        end = offsets[partition] if partition < len(offsets) else 0
        count = bisect_left(states, end, key=lambda state: state.offset)
        return states[max(0, count - 1) : count]

    def item_ids(self) -> Iterable[str]:
        """List all items that were ever published."""
        return self._items.keys()

    def of_items(self, item_ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """Write the history of items down, for a report.

        Args:
            item_ids: Items.

        Returns:
            By item, its states as JSON can hold them.
        """
        return {item_id: [_described(state) for state in self._items.get(item_id, [])] for item_id in item_ids}

    def forget_past(self) -> None:
        """Keep only the latest state of each item: no set of an older snapshot will be judged any more."""
        for states in self._items.values():
            del states[:-1]


def _described(state: Published) -> dict[str, Any]:
    item = None if state.item is None else state.item.model_dump(mode="json", exclude_none=True, exclude={"versions"})
    return {"offset": state.offset, "item": item, "sids": {v: sorted(sids) for v, sids in state.sids.items()}}
