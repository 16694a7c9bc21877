"""States of the live items of the partitions that this worker owns. The catalogue agent is their only writer.

The `item-sids.v1` value of a live item is replaced by the value that follows from its window, its long-term memory and
its listeners. Segments and listener sums come in the same batches and are written in the same single order, so that
after a tombstone nothing can bring an item back.

Crash-safe without transactions: a state is acknowledged before the values that follow from it are sent, and both before
the records are acked. After a crash the unacked records are delivered again. They are below the watermarks of the state
and have the current value sent once more: the same bytes, because a value is a function of the state.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

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
LIVE_MARK: Final = b'"kind":"live"'
"""Is in the bytes of every `item-sids.v1` value of a live item, and in few others."""
# What bad data raises in numpy and encoders; see `sidestream.streams.tokenizing.values`.
_DATA_ERRORS = (TokenizerError, ValueError, ArithmeticError)


class LiveItems:
    """States of live items by partition; one caller at a time.

    Args:
        topics: All topics.
        codebooks: Codebooks of the loaded tokenizers.
        limits: Bounds that records must keep.
        settings: How live items get their SIDs.
        metrics: Counts items and events.

    Attributes:
        states: By partition and key; a partition is present once its states are restored.
    """

    def __init__(
        self,
        topics: Topics,
        codebooks: Iterable[LiveCodebooks],
        limits: Limits,
        settings: LiveSettings,
        metrics: Metrics,
    ) -> None:
        self._topics, self._limits, self._settings, self._metrics = topics, limits, settings, metrics
        self.set_codebooks(codebooks)
        self.states: dict[int, dict[bytes, LiveState]] = {}
        self._touched: dict[tuple[int, bytes], None] = {}

    @property
    def sources(self) -> tuple[str, str]:
        """Names of the topics that concern live items only."""
        return self._topics.live_segments.name, self._topics.live_listeners.name

    def set_codebooks(self, codebooks: Iterable[LiveCodebooks]) -> None:
        """Tokenize under these tokenizers from now on.

        Args:
            codebooks: Codebooks of the loaded tokenizers. An item gets a SID under each one once a catalogue value
                names its version.
        """
        self._codebooks = {one.version: one for one in codebooks}

    def add_restored(self, states: Mapping[int, Mapping[bytes, LiveState]]) -> None:
        """Add restored partitions.

        Args:
            states: By partition and key.
        """
        self.states |= {partition: dict(of_partition) for partition, of_partition in states.items()}

    def clear(self) -> None:
        """Drop the states of all partitions."""
        self.states.clear()
        self._touched.clear()

    def apply(
        self,
        sources: Sequence[SourceRecord],
        outgoing: Sequence[Outgoing | None],
        to_dead_letter: Callable[[SourceRecord, BadRecord], Outgoing],
    ) -> list[Outgoing]:
        """Apply a batch to the states, in its order.

        Args:
            sources: Its records.
            outgoing: The record that the catalogue agent made of each; `None` for records of the topics in `sources`.
            to_dead_letter: Makes a dead letter.

        Returns:
            The records to send: the states that changed, then what follows from each record.
        """
        made: list[Outgoing] = []
        for source, record in zip(sources, outgoing, strict=True):
            if source.topic in self.sources:
                try:
                    made += self._fold(source)
                except BadRecord as bad:
                    made.append(to_dead_letter(source, bad))
            elif record is not None and record[0] == self._topics.item_sids.name:
                made.append(self._apply_item(source, record))
            elif record is not None:
                made.append(record)
        return [*self._changed_states(), *made]

    def sweep(self, now_ms: int) -> list[Outgoing]:
        """Drop the states of expired items.

        Args:
            now_ms: UTC epoch ms.

        Returns:
            Tombstones for the states. Readers of the catalogue check expiry themselves.
        """
        changes = count = 0
        for partition, states in self.states.items():
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
        """Look up a live item; `None` if it is not live in that partition."""
        return self.states.get(partition, {}).get(item_id.encode())

    def _apply_item(self, source: SourceRecord, record: Outgoing) -> Outgoing:
        key, states = source.key or b"", self.states.setdefault(source.partition, {})
        state = states.get(key)
        # Most items are not live: a search in the bytes avoids decoding the value.
        value = ItemSids.from_json(record[2]) if record[2] is not None and LIVE_MARK in record[2] else None
        if value is None or value.kind != _KIND:
            if states.pop(key, None) is not None:
                self._touched[source.partition, key] = None
                self._metrics.live_ended.labels("removed").inc()
            return record
        words = own_words(value)
        step = fold_item(state, record[2] or b"", value.source_offset, words, self._codebooks, self._settings)
        self._store(source, step)
        return self._value_record(key, step.state)

    def _fold(self, source: SourceRecord) -> list[Outgoing]:
        is_segment = source.topic == self._topics.live_segments.name
        counter = self._metrics.live_segments if is_segment else self._metrics.live_listeners
        state = self.states.setdefault(source.partition, {}).get(source.key or b"")
        try:
            step = self._take_segment(source, state) if is_segment else self._take_listeners(source, state)
        except _DATA_ERRORS as exc:
            raise BadRecord(Reason.BAD_VALUE, str(exc)) from exc
        if step is None:
            counter.labels("no_item").inc()
            return []
        counter.labels("folded" if step.is_new else "repeat").inc()
        self._store(source, step)
        if step.is_new and not step.changed:
            return []
        return [self._value_record(source.key or b"", step.state)]

    def _take_segment(self, source: SourceRecord, state: LiveState | None) -> LiveUpdate | None:
        segment = decode_segment(source.key, source.value, source.timestamp, self._limits, self._settings.max_segment_s)
        if state is None:
            return None
        taken = segment_of(segment, source.offset)
        return fold_segment(state, segment.item_id, taken, self._codebooks, self._settings)

    def _take_listeners(self, source: SourceRecord, state: LiveState | None) -> LiveUpdate | None:
        _, partial = decode_listeners(source.key, source.value, source.timestamp, self._limits)
        return None if state is None else fold_listeners(state, partial, self._codebooks, self._settings)

    def _store(self, source: SourceRecord, step: LiveUpdate) -> None:
        if not step.is_new:
            return
        key = source.key or b""
        self.states[source.partition][key] = step.state
        self._touched[source.partition, key] = None
        if step.changed:
            self._metrics.live_retokenized.inc()

    def _value_record(self, key: bytes, state: LiveState) -> Outgoing:
        return self._topics.item_sids.name, key, value_of(state).to_json(), []

    def _changed_states(self) -> list[Outgoing]:
        topic = self._topics.live_states.name
        records: list[Outgoing] = []
        for partition, key in self._touched:
            state = self.states[partition].get(key)
            records.append((topic, key, None if state is None else encode_state(state), []))
        self._touched.clear()
        return records


# Called for every item in each sweep, and the result changes only with the catalogue's value.
@lru_cache(maxsize=65_536)
def _expires_at(item: bytes) -> int | None:
    return ItemSids.from_json(item).expires_at
