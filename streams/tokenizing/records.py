"""From catalogue events to the records that they make: values, tombstones and dead letters. No Kafka."""

from collections.abc import Callable, Sequence

from sidestream.models.records import CatalogItem, ItemSids
from sidestream.streams.contracts.deadletters import SourceRecord, dead_letter
from sidestream.streams.contracts.decode import Limits, Reason, decode_catalog_item
from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord, TokenizerError
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.events import Source

# What data does to numpy, codecs and pydantic. Anything else is a defect of ours, which would bury the whole catalogue.
_ITEM_ERRORS = (TokenizerError, ValueError, ArithmeticError)

Tokenize = Callable[[Sequence[CatalogItem], Sequence[int]], list[ItemSids]]
"""Items and their source offsets to values, in order."""


class Maker:
    """Makes records.

    Args:
        topics: All topics.
        tokenize: Makes values.
        limits: What catalogue records must keep.
        metrics: Counts.

    Attributes:
        tokenize: Makes values.
        observe: Told of the values of each batch.
    """

    def __init__(self, topics: Topics, tokenize: Tokenize, limits: Limits, metrics: Metrics) -> None:
        self.tokenize = tokenize
        self.observe: Callable[[Sequence[ItemSids]], None] | None = None
        self._topics = topics
        self._limits = limits
        self._metrics = metrics

    def of_events(self, sources: Sequence[Source]) -> list[Outgoing | None]:
        """Decode and tokenize, in the order of the events.

        Args:
            sources: Events of any topic.

        Returns:
            A record of each of `catalog-items.v1`, a value, a tombstone or a dead letter; none of others.
        """
        outgoing: list[Outgoing | None] = [None] * len(sources)
        upserts: list[tuple[int, CatalogItem]] = []
        for place, source in enumerate(sources):
            if source.topic != self._topics.catalog_items.name:
                continue
            try:
                item = decode_catalog_item(source.key, source.value, source.timestamp, self._limits)
            except BadRecord as bad:
                outgoing[place] = self.bury(source, bad)
                continue
            if item is None:
                outgoing[place] = (self._topics.item_sids.name, source.key, None, [])
                self._metrics.tokenized_items.labels("removed").inc()
            else:
                upserts.append((place, item))
        for place, made in self._encoded(sources, upserts):
            outgoing[place] = made
        return outgoing

    def _encoded(self, sources: Sequence[Source], upserts: list[tuple[int, CatalogItem]]) -> list[tuple[int, Outgoing]]:
        offsets = [sources[place].offset for place, _ in upserts]
        try:
            values = self.tokenize([item for _, item in upserts], offsets)
        except _ITEM_ERRORS as exc:
            if len(upserts) > 1:
                # One item spoils the batch: find it by halves, let the others through.
                half = len(upserts) // 2
                return self._encoded(sources, upserts[:half]) + self._encoded(sources, upserts[half:])
            place = upserts[0][0]
            return [(place, self.bury(sources[place], BadRecord(Reason.BAD_VALUE, str(exc))))]
        self._metrics.tokenized_items.labels("tokenized").inc(len(values))
        if self.observe is not None:
            self.observe(values)
        topic = self._topics.item_sids.name
        return [
            (place, (topic, item.item_id.encode(), value.to_json(), []))
            for (place, item), value in zip(upserts, values, strict=True)
        ]

    def bury(self, source: SourceRecord, bad: BadRecord) -> Outgoing:
        """Make a dead letter, and count it.

        Args:
            source: What cannot be read.
            bad: Why.

        Returns:
            The letter.
        """
        self._metrics.dead_letters.labels(source.topic, bad.reason).inc()
        letter = dead_letter(source, bad)
        return letter.topic, letter.key, letter.value, letter.headers
