"""One run of a recording: read what is new, drop what erased users had, write the log folder from all that is kept.

Memory holds one segment of records, two sort buffers, the item ids and the erased users, whatever the topics hold.
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from sidestream.models.data.log_folder import MANIFEST_FILE
from sidestream.models.data.progress import Progress, ignore_progress
from sidestream.streams.contracts.decode import (
    Limits,
    decode_catalog_item,
    decode_item_key,
    decode_listen,
    decode_session_start,
)
from sidestream.streams.contracts.topics import Topics, TopicState
from sidestream.streams.errors import BadRecord, DataError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_errors import missing_topic_error
from sidestream.streams.kafka.tail import TopicRecord
from sidestream.streams.listens.restore.origin import describe_topics
from sidestream.streams.operate.recording.building import Building, Recorded, RecordOptions
from sidestream.streams.operate.recording.erased import read_erased
from sidestream.streams.operate.recording.reading import TopicReader
from sidestream.streams.operate.recording.spool import (
    ANEW,
    FOLDER,
    STATE_FILE,
    Kind,
    Refused,
    Spool,
    Spooled,
    State,
    locked,
)
from sidestream.tokenizer.folders import require_place

_KINDS: tuple[Kind, ...] = ("catalog", "listens", "sessions")
_HOUR_MS = 3_600_000


def record_topics(
    clients: Clients, topics: Topics, target: Path, options: RecordOptions, on_progress: Progress = ignore_progress
) -> Recorded:
    """Record topics into a log folder; called again it continues and rewrites the folder.

    Args:
        clients: The Kafka.
        topics: Their names.
        target: The log folder, new or of an earlier run.
        options: What is recorded.
        on_progress: Called with how far it is.

    Returns:
        What was done.

    Raises:
        DataError: Something else lies at `target`, or it was recorded from another time or other topics, or so long ago
            that erasures and removals may be missed.
        ArtifactError: No folder can be published at `target`.
        TopicError: A topic is missing, or Kafka does not answer before anything was read.
        BrokerError: Kafka does not answer; what was read is kept, another run goes on.
    """
    require_place(target, partial(_require_own, overwrite=options.overwrite))
    began_at, erasures = options.clock(), topics.user_erasures.name
    found = describe_topics(clients, *_names(topics).values(), erasures)
    for topic in (*_names(topics).values(), erasures):
        if topic not in found:
            raise missing_topic_error(topic, clients.bootstrap)
    # Erasures that were swept, and removed items, are known by tombstones only.
    kept_ms = min(found[topic].removals_kept_ms for topic in (topics.catalog_items.name, erasures))
    with locked(target):
        spool = _open(target, topics, found, options, began_at)
        _require_known(target, spool.state, kept_ms, began_at)
        reading = _Reading(clients, topics, spool, options, on_progress)
        reading.run()
        # Read last: a user who was erased while the topics were read is left out too.
        erased = read_erased(clients, erasures, options.limits)
        _require_known(target, spool.state, kept_ms, options.clock())
        spool.state = spool.state.model_copy(update={"known_at": began_at})
        return Building(target, spool, options, erased, reading.begins).run(reading.read, on_progress)


def _require_own(place: Path, *, overwrite: bool) -> None:
    own = place / MANIFEST_FILE if overwrite else place / FOLDER / STATE_FILE
    if not own.exists() and any(inside.name != FOLDER for inside in place.iterdir()):
        msg = f"{place}: expected a new folder or one of an earlier recording, got another; name a new one"
        raise DataError(msg)


def _require_known(target: Path, state: State, kept_ms: int, now_ms: int) -> None:
    """Refuse to continue where tombstones may be gone that were never read: what they removed would stay for good."""
    age_ms = None if state.known_at is None else now_ms - state.known_at
    if age_ms is None or age_ms >= kept_ms:
        got = "an unknown time ago" if age_ms is None else f"{age_ms / _HOUR_MS:,.1f} h ago"
        msg = (
            f"{target}: expected a recording whose last complete run began less than {kept_ms / _HOUR_MS:,.1f} h ago, "
            f"got one of {got}: since then users may have been erased, and items removed, of which the topics no "
            f"longer tell; {ANEW}"
        )
        raise DataError(msg)


def _open(target: Path, topics: Topics, found: Mapping[str, TopicState], options: RecordOptions, now_ms: int) -> Spool:
    names: dict[str, str] = {kind: name for kind, name in _names(topics).items()}
    topic_ids = {topic: state.topic_id for topic, state in found.items() if state.topic_id is not None}
    spool = None if options.overwrite else Spool.open(target / FOLDER)
    if spool is None:
        state = State(
            topics=names,
            topic_ids=topic_ids,
            from_at=options.from_at,
            from_text=options.from_text,
            known_at=now_ms,
        )
        spool = Spool(target / FOLDER, state)
        # Written before any segment: those of a recording that is overwritten no longer count.
        spool.append([], state)
        return spool
    before = spool.state
    if before.topics != names:
        msg = f"{target}: expected a recording of {names['listens']}, got one of {before.topics['listens']}; {ANEW}"
        raise DataError(msg)
    is_same_text = options.from_text is not None and options.from_text == before.from_text
    if options.from_at not in (None, before.from_at) and not is_same_text:
        msg = (
            f"{target}: was recorded from {before.from_at}, got from {options.from_at} (UTC epoch ms); leave "
            f"--from out to go on; else {ANEW}"
        )
        raise DataError(msg)
    for topic, topic_id in topic_ids.items():
        if topic_id != before.topic_ids.get(topic, topic_id):
            msg = (
                f"{topic}: expected topic id {before.topic_ids[topic]}, of which was recorded, got {topic_id}: "
                f"the topic was made again; {ANEW}"
            )
            raise DataError(msg)
    return spool


def _names(topics: Topics) -> dict[Kind, str]:
    return {
        "catalog": topics.catalog_items.name,
        "listens": topics.listens.name,
        "sessions": topics.session_starts.name,
    }


class _Reading:
    """Brings the spool to where the topics end now."""

    def __init__(
        self, clients: Clients, topics: Topics, spool: Spool, options: RecordOptions, on_progress: Progress
    ) -> None:
        self._clients, self._spool, self._options, self._on_progress = clients, spool, options, on_progress
        self.names = _names(topics)
        self.begins: dict[tuple[Kind, int], int] = {}
        self.read: Counter[str] = Counter()
        self._next_offsets = {topic: dict(found) for topic, found in spool.state.next_offsets.items()}
        self._refused = dict(spool.state.refused)
        self._lost = spool.state.lost
        self._waiting: list[Spooled] = []

    def run(self) -> None:
        for kind in _KINDS:
            self._read(kind)
        self._save()

    def _read(self, kind: Kind) -> None:
        topic, since = self.names[kind], self._spool.state.from_at
        positions = self._next_offsets.setdefault(topic, {})
        # An event's own time is at most this much after its timestamp; older records cannot be of the range.
        floor = None if since is None or kind == "catalog" else since - self._options.limits.max_future_ms
        lost_before = self._lost
        with TopicReader(self._clients, topic, positions, floor) as reader:
            self.begins |= {(kind, number): begin for number, begin in reader.begins.items()}
            # What is lost already counts once, also where this run is killed before a record of its partition comes.
            positions |= reader.positions
            stage = f"read {kind}"
            self._on_progress(stage, 0, reader.total)
            for records in reader.read():
                for record in records:
                    self._take(kind, topic, record)
                    positions[record.partition] = record.offset + 1
                # Compaction takes superseded items, which are not lost.
                self._lost = lost_before + (0 if kind == "catalog" else reader.num_lost)
                self._on_progress(stage, reader.done, reader.total)
                if len(self._waiting) >= self._options.segment_records:
                    self._save()
            self._lost = lost_before + (0 if kind == "catalog" else reader.num_lost)
            positions |= reader.ends

    def _take(self, kind: Kind, topic: str, record: TopicRecord) -> None:
        self.read[kind] += 1
        try:
            spooled = _spooled(kind, record, self._options.limits)
        except BadRecord as exc:
            what = f"{topic}/{record.partition}@{record.offset}: {exc.reason}: {exc.detail}"
            self._refused[topic] = self._refused.get(topic, Refused()).with_one(str(exc.reason), what)
            return
        since = self._spool.state.from_at
        if kind != "catalog" and since is not None and spooled.at < since:
            return
        self._waiting.append(spooled)

    def _save(self) -> None:
        update = {"next_offsets": self._next_offsets, "refused": self._refused, "lost": self._lost}
        state = self._spool.state.model_copy(update=update)
        # A copy: what is read next must not reach into the state that is being kept.
        self._spool.append(self._waiting, State.model_validate(state.model_dump()))
        self._waiting = []


def _spooled(kind: Kind, record: TopicRecord, limits: Limits) -> Spooled:
    key, value, timestamp = record.key, record.value, record.timestamp
    if kind == "listens":
        listen = decode_listen(key, value, timestamp, limits)
        return Spooled(kind, record.partition, record.offset, listen.at, listen.user_id, value)
    if kind == "sessions":
        start = decode_session_start(key, value, timestamp, limits)
        return Spooled(kind, record.partition, record.offset, start.at, start.user_id, value)
    item = decode_catalog_item(key, value, timestamp, limits)
    at = max(0, timestamp) if item is None else item.at
    return Spooled(kind, record.partition, record.offset, at, decode_item_key(key), None if item is None else value)
