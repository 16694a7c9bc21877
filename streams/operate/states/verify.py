"""Compares three copies of the states: the pure fold of the source log, the changelog, and the local table.

If the catalogue has not changed, they must be equal byte for byte. If it has, everything that the records determine
must be equal: all but the stored SIDs, because the compacted catalogue no longer contains the SID that an item had when
a listen was folded. For an erased user only the entries are compared: the ids of the last events and the counts depend
on when the erasure arrived.

States and listens in a partition that is not their user's are not compared: nothing reads the states, which are
reported, and the listens are dead letters. Partitions that cannot be checked are reported: those whose first listens
retention has deleted, and those whose states were carried over from another source.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sidestream.models.data.rows import ListenRow
from sidestream.models.errors import StateError
from sidestream.models.history import SidLookup, erase, fold
from sidestream.models.history.blocks import KEY_MARK
from sidestream.models.history.layout import NO_ERASURE, decode, entry_bytes
from sidestream.streams.contracts.decode import Limits, decode_listen
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.errors import BadRecord
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin, is_reserved
from sidestream.streams.operate.states.offline import OfflineStates

MAX_DIFFERENCES = 20
_FACTS_BYTES = 16  # of a ring entry: what the listen alone determines


@dataclass(slots=True)
class VerifyReport:
    """The result of a comparison.

    Attributes:
        users: Users in the changelog.
        same_bytes: Of these, equal to the fold byte for byte.
        same_but_sids: Of these, equal to the fold except for stored SIDs.
        unchecked_folds: Of these, in partitions whose states do not follow from the log alone.
        table_users: Users compared in local tables.
        wrong: Number of differences.
        differences: The first differences, one line each.
        notes: What could not be checked, and why.
    """

    users: int = 0
    same_bytes: int = 0
    same_but_sids: int = 0
    unchecked_folds: int = 0
    table_users: int = 0
    wrong: int = 0
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def differ(self, what: str) -> None:
        """Count a difference, and store its text if it is one of the first."""
        self.wrong += 1
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(what)


async def verify_states(
    offline: OfflineStates,
    lookup: SidLookup,
    limits: Limits,
    *,
    with_tables: bool,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> VerifyReport:
    """Compare fold, changelog and, optionally, this machine's tables, one partition at a time.

    Args:
        offline: The states.
        lookup: Returns the current SID of an item key.
        limits: Bounds that listens must keep.
        with_tables: Whether to compare local tables, too.
        progress: Called with the number of compared partitions and of all partitions.

    Returns:
        The report.

    Raises:
        LaneError: A worker is running.
    """
    await asyncio.to_thread(offline.require_idle)
    committed = await asyncio.to_thread(offline.committed)
    bounds = await offline.bounds(offline.identity.source_topic)
    report = VerifyReport()
    for partition in range(offline.identity.num_partitions):
        progress(partition, offline.identity.num_partitions)
        values = await offline.changelog(partition)
        record = values.get(ORIGIN_KEY)
        states = {key: value for key, value in values.items() if not is_reserved(key)}
        users = {key: value for key, value in states.items() if not key.startswith(KEY_MARK)}
        report.users += len(users)
        begin = bounds[partition][0]
        if begin > 0 or (record is not None and Origin.from_bytes(record).carried):
            why = f"its log starts at offset {begin}" if begin else "its states were carried over from another source"
            report.notes.append(f"partition {partition}: the fold of {len(users)} users cannot be checked: {why}")
            report.unchecked_folds += len(users)
        else:
            await _compare_fold(offline, partition, users, committed.get(partition, 0), lookup, limits, report)
        if with_tables:
            await asyncio.to_thread(_compare_table, offline, partition, states, report)
    progress(offline.identity.num_partitions, offline.identity.num_partitions)
    return report


async def _compare_fold(
    offline: OfflineStates,
    partition: int,
    users: Mapping[bytes, bytes],
    committed: int,
    lookup: SidLookup,
    limits: Limits,
    report: VerifyReport,
) -> None:
    listens: dict[bytes, list[tuple[int, ListenRow]]] = {}
    async for record in offline.read(offline.identity.source_topic, partition):
        try:
            listens.setdefault(record.key, []).append(
                (record.offset, decode_listen(record.key, record.value, record.timestamp, limits))
            )
        except BadRecord:
            continue
    keys = users.keys() | listens.keys()
    misplaced = frozenset(Placement(offline.topics.listens).misplaced([*keys], partition))
    if unread := len(users.keys() & misplaced):
        report.notes.append(
            f"partition {partition}: {unread} states are of users of other partitions; nothing reads them"
        )
    for key in keys - misplaced:
        state, of_user = users.get(key), listens.get(key, [])
        try:
            watermark, erased_at = (-1, NO_ERASURE) if state is None else _marks(state)
            # Without transactions the changelog may be ahead of the committed offset.
            folded = [(offset, listen) for offset, listen in of_user if offset < committed or offset <= watermark]
            start = None if erased_at == NO_ERASURE else erase(None, erased_at)
            expected = fold(start, folded, lookup, offline.lane.history_events).state if folded or start else None
            if state == expected:
                report.same_bytes += state is not None
            elif state is not None and expected is not None and _facts(state) == _facts(expected):
                report.same_but_sids += 1
            else:
                report.differ(
                    f"{_name(key)}: changelog/{partition} expected {_describe(expected)}, got {_describe(state)}"
                )
        except StateError as exc:
            report.differ(f"{_name(key)}: changelog/{partition}: {exc}")


def _compare_table(offline: OfflineStates, partition: int, states: Mapping[bytes, bytes], report: VerifyReport) -> None:
    if not offline.local_path(partition).exists():
        report.notes.append(f"partition {partition}: no local table here")
        return
    found, _, _ = offline.read_table(partition)
    report.table_users += sum(not key.startswith(KEY_MARK) for key in found)
    for key in found.keys() | states.keys():
        if found.get(key) != states.get(key):
            expected, got = _describe(states.get(key)), _describe(found.get(key))
            report.differ(f"{_name(key)}: table/{partition} expected {expected} as in the changelog, got {got}")


def _marks(state: bytes) -> tuple[int, int]:
    parts = decode(state)
    return parts.watermark, parts.erased_at


def _facts(state: bytes) -> tuple[object, ...]:
    """Return the parts of a state that follow from its listens, independently of the catalogue."""
    parts = decode(state)
    step = entry_bytes(parts.num_levels)
    entries = [parts.ring[at : at + _FACTS_BYTES] for at in range(0, len(parts.ring), step)]
    if parts.erased_at != NO_ERASURE:
        return (parts.erased_at, entries)
    return (parts.folded, parts.late, parts.watermark, parts.event_ids, entries)


def _describe(state: bytes | None) -> str:
    if state is None:
        return "no state"
    try:
        parts = decode(state)
    except StateError:
        return f"{len(state)} bytes that are not a state"
    entries = len(parts.ring) // entry_bytes(parts.num_levels)
    return f"{parts.folded} folded, {entries} entries, watermark {parts.watermark}"


def _name(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
