"""The live items of the partitions that this worker owns: their states, beside the catalogue agent, its one writer.

Every value for `item-sids.v1` passes through here: one of a live item is replaced by what its window, its long memory
and its listeners make of it. Segments and listeners' sums come in the same batches, in the same one order of writing,
so that after a tombstone nothing can bring an item back.

Crash-safe without transactions: a state is acknowledged before the values that follow from it are sent, and both before
the records are acked. What a crash leaves undone comes again, is below the watermarks of the state, and has the value
that stands sent once more: the same bytes, for a value is a function of the state.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from sidestream.models.records import ItemSids
from sidestream.streams.contracts.deadletters import SourceRecord
from sidestream.streams.contracts.decode import Limits, Reason
from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord, TokenizerError
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.live.reading import decode_listeners, decode_segment, own_words, segment_of, value_of
from sidestream.tokenizer.live import (
    LiveCodebooks,
    LiveSettings,
    LiveState,
    LiveUpdate,
    encode_state,
    fold_item,
    fold_listeners,
    fold_segment,
)

_KIND = "live"
_IS_LIVE = b'"kind":"live"'
# What data does to numpy and encoders; see the catalogue agent.
_DATA_ERRORS = (TokenizerError, ValueError, ArithmeticError)


class LiveItems:
    """States of live items by partition; one caller at a time.

    Args:
        topics: All topics.
        books: The tokenizers that are loaded.
        limits: What records must keep.
        settings: How live items are made into SIDs.
        metrics: Counts.
    """

    def __init__(
        self, topics: Topics, books: Iterable[LiveCodebooks], limits: Limits, settings: LiveSettings, metrics: Metrics
    ) -> None:
        self._topics, self._limits, self._settings, self._metrics = topics, limits, settings, metrics
        self.use(books)
        self._states: dict[int, dict[bytes, LiveState]] = {}
        self._touched: dict[tuple[int, bytes], None] = {}

    @property
    def sources(self) -> tuple[str, str]:
        """Names of the topics that it reads beside the catalogue's."""
        return self._topics.live_segments.name, self._topics.live_listeners.name

    @property
    def partitions(self) -> frozenset[int]:
        """Partitions whose states are here."""
        return frozenset(self._states)

    def use(self, books: Iterable[LiveCodebooks]) -> None:
        """Tokenize under these tokenizers from now on.

        Args:
            books: The tokenizers that are loaded; an item gets a SID of each once a catalogue value names its version.
        """
        self._books = {one.version: one for one in books}

    def adopt(self, states: Mapping[int, Mapping[bytes, LiveState]]) -> None:
        """Take over restored partitions.

        Args:
            states: By partition and key.
        """
        self._states |= {partition: dict(of_partition) for partition, of_partition in states.items()}

    def forget(self) -> None:
        """Give all partitions up."""
        self._states.clear()
        self._touched.clear()

    def through(
        self,
        sources: Sequence[SourceRecord],
        outgoing: Sequence[Outgoing | None],
        bury: Callable[[SourceRecord, BadRecord], Outgoing],
    ) -> list[Outgoing]:
        """Let a batch pass, in its order.

        Args:
            sources: Its records.
            outgoing: What the catalogue agent made of each; none of records from `sources`.
            bury: Makes a dead letter.

        Returns:
            What to send: the states that changed, then what the records made.
        """
        made: list[Outgoing] = []
        for source, record in zip(sources, outgoing, strict=True):
            if source.topic in self.sources:
                try:
                    made += self._fold(source)
                except BadRecord as bad:
                    made.append(bury(source, bad))
            elif record is not None and record[0] == self._topics.item_sids.name:
                made.append(self._item(source, record))
            elif record is not None:
                made.append(record)
        return [*self._changed_states(), *made]

    def sweep(self, now_ms: int) -> list[Outgoing]:
        """Let go of items that are over.

        Args:
            now_ms: UTC epoch ms.

        Returns:
            Their tombstones for the states; readers of the catalogue leave expired items out by themselves.
        """
        changes = count = 0
        for partition, states in self._states.items():
            for key, state in list(states.items()):
                expires_at = _expires_at(state.item)
                if expires_at is not None and expires_at <= now_ms:
                    del states[key]
                    self._touched[partition, key] = None
                    self._metrics.live_ended.labels("expired").inc()
                else:
                    count += 1
                    changes += state.changes_last_hour(now_ms)
        self._metrics.live_items.set(count)
        self._metrics.live_changes_last_hour.set(changes)
        return self._changed_states()

    def state(self, partition: int, item_id: str) -> LiveState | None:
        """Look up a live item; none where it is not known in that partition."""
        return self._states.get(partition, {}).get(item_id.encode())

    def _item(self, source: SourceRecord, record: Outgoing) -> Outgoing:
        key, states = source.key or b"", self._states.setdefault(source.partition, {})
        state = states.get(key)
        # Most items are not live: one look at the bytes instead of reading the value back.
        value = ItemSids.from_json(record[2]) if record[2] is not None and _IS_LIVE in record[2] else None
        if value is None or value.kind != _KIND:
            if states.pop(key, None) is not None:
                self._touched[source.partition, key] = None
                self._metrics.live_ended.labels("removed").inc()
            return record
        step = fold_item(state, record[2] or b"", value.source_offset, own_words(value), self._books, self._settings)
        self._keep(source, step)
        return self._value(key, step.state)

    def _fold(self, source: SourceRecord) -> list[Outgoing]:
        is_segment = source.topic == self._topics.live_segments.name
        counter = self._metrics.live_segments if is_segment else self._metrics.live_listeners
        state = self._states.setdefault(source.partition, {}).get(source.key or b"")
        try:
            step = self._segment(source, state) if is_segment else self._listeners(source, state)
        except _DATA_ERRORS as exc:
            raise BadRecord(Reason.BAD_VALUE, str(exc)) from exc
        if step is None:
            counter.labels("no_item").inc()
            return []
        counter.labels("folded" if step.is_new else "repeat").inc()
        self._keep(source, step)
        if step.is_new and not step.changed:
            return []
        return [self._value(source.key or b"", step.state)]

    def _segment(self, source: SourceRecord, state: LiveState | None) -> LiveUpdate | None:
        segment = decode_segment(source.key, source.value, source.timestamp, self._limits, self._settings.max_segment_s)
        if state is None:
            return None
        return fold_segment(state, segment.item_id, segment_of(segment, source.offset), self._books, self._settings)

    def _listeners(self, source: SourceRecord, state: LiveState | None) -> LiveUpdate | None:
        _, partial = decode_listeners(source.key, source.value, source.timestamp, self._limits)
        return None if state is None else fold_listeners(state, partial, self._books, self._settings)

    def _keep(self, source: SourceRecord, step: LiveUpdate) -> None:
        if not step.is_new:
            return
        key = source.key or b""
        self._states[source.partition][key] = step.state
        self._touched[source.partition, key] = None
        if step.changed:
            self._metrics.live_retokenized.inc()

    def _value(self, key: bytes, state: LiveState) -> Outgoing:
        return self._topics.item_sids.name, key, value_of(state).to_json(), []

    def _changed_states(self) -> list[Outgoing]:
        topic = self._topics.live_states.name
        records: list[Outgoing] = []
        for partition, key in self._touched:
            state = self._states[partition].get(key)
            records.append((topic, key, None if state is None else encode_state(state), []))
        self._touched.clear()
        return records


# Swept every second, and it changes with the catalogue's value alone.
@lru_cache(maxsize=65_536)
def _expires_at(item: bytes) -> int | None:
    return ItemSids.from_json(item).expires_at
