"""From consumed catalogue records to the records to publish: values, tombstones and dead letters. No Kafka."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sidestream.models.records import CatalogItem, ItemSids
from sidestream.streams.contracts.deadletters import SourceRecord, dead_letter
from sidestream.streams.contracts.decode import Limits, Reason, decode_catalog_item
from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.values import ITEM_ERRORS


@dataclass(frozen=True, slots=True)
class ConsumedRecord:
    """A record of `catalog-items.v1` or of a topic of live items, in the form that dead letters are made from."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    @classmethod
    def from_message(cls, message: Any) -> "ConsumedRecord":
        """Copy a Faust message, whose timestamp is in seconds."""
        headers = message.headers.items() if hasattr(message.headers, "items") else message.headers or ()
        return cls(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            timestamp=-1 if message.timestamp is None else round(message.timestamp * 1e3),
            key=message.key,
            value=message.value,
            headers=list(headers),
        )


Tokenize = Callable[[Sequence[CatalogItem], Sequence[int]], list[ItemSids]]
"""Turns items and their source offsets into values, in order."""


class RecordMaker:
    """Decodes and tokenizes catalogue records.

    Args:
        topics: All topics.
        tokenize: Makes the values.
        limits: Bounds that catalogue records must keep.
        metrics: Counts items and dead letters.

    Attributes:
        tokenize: Makes the values.
        on_values: Called with the values of each batch.
    """

    def __init__(self, topics: Topics, tokenize: Tokenize, limits: Limits, metrics: Metrics) -> None:
        self.tokenize = tokenize
        self.on_values: Callable[[Sequence[ItemSids]], None] | None = None
        self._topics = topics
        self._limits = limits
        self._metrics = metrics

    def make_records(self, consumed: Sequence[ConsumedRecord]) -> list[Outgoing | None]:
        """Decode and tokenize, in the order of the records.

        Args:
            consumed: Records of any topic.

        Returns:
            For each record of `catalog-items.v1` a value, a tombstone or a dead letter; `None` for any other.
        """
        outgoing: list[Outgoing | None] = [None] * len(consumed)
        upserts: list[tuple[int, CatalogItem]] = []
        for place, record in enumerate(consumed):
            if record.topic != self._topics.catalog_items.name:
                continue
            try:
                item = decode_catalog_item(record.key, record.value, record.timestamp, self._limits)
            except BadRecord as bad:
                outgoing[place] = self.to_dead_letter(record, bad)
                continue
            if item is None:
                outgoing[place] = (self._topics.item_sids.name, record.key, None, [])
                self._metrics.tokenized_items.labels("removed").inc()
            else:
                upserts.append((place, item))
        for place, made in self._tokenize_upserts(consumed, upserts):
            outgoing[place] = made
        return outgoing

    def _tokenize_upserts(
        self, consumed: Sequence[ConsumedRecord], upserts: list[tuple[int, CatalogItem]]
    ) -> list[tuple[int, Outgoing]]:
        offsets = [consumed[place].offset for place, _ in upserts]
        try:
            values = self.tokenize([item for _, item in upserts], offsets)
        except ITEM_ERRORS as exc:
            if len(upserts) > 1:
                # One item fails the batch: find it by bisection, so that the others are tokenized.
                half = len(upserts) // 2
                first, second = upserts[:half], upserts[half:]
                return self._tokenize_upserts(consumed, first) + self._tokenize_upserts(consumed, second)
            place = upserts[0][0]
            return [(place, self.to_dead_letter(consumed[place], BadRecord(Reason.BAD_VALUE, str(exc))))]
        self._metrics.tokenized_items.labels("tokenized").inc(len(values))
        if self.on_values is not None:
            self.on_values(values)
        topic = self._topics.item_sids.name
        return [
            (place, (topic, item.item_id.encode(), value.to_json(), []))
            for (place, item), value in zip(upserts, values, strict=True)
        ]

    def to_dead_letter(self, record: SourceRecord, bad: BadRecord) -> Outgoing:
        """Make a dead letter of a record, and count it."""
        self._metrics.dead_letters.labels(record.topic, bad.reason).inc()
        letter = dead_letter(record, bad)
        return letter.topic, letter.key, letter.value, letter.headers
