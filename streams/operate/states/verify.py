"""Compares three copies of the states: the pure fold of the source log, the changelog, and the local table.

If the catalogue has not changed, they must be equal byte for byte. If it has, everything that the records determine
must be equal: all but the stored SIDs, because the compacted catalogue no longer contains the SID that an item had when
a listen was folded. For an erased user only the entries are compared: the ids of the last events and the counts depend
on when the erasure arrived. With `lane.state_ttl_days` a user may have been removed after each pause of that length, so
that the fold begins after it.

An erased user must not be held anywhere: neither in a changelog partition, also one that is not the user's, nor in any
local table of this machine (`remains`).

States and listens in a partition that is not their user's are not compared: nothing reads the states, which are
reported, and the listens are dead letters. Partitions that cannot be checked are reported: those whose first listens
retention has deleted, and those whose states were carried over from another source.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sidestream.models.data.rows import ListenRow
from sidestream.models.errors import StateError
from sidestream.models.history import SidLookup, erase, fold, split_block_key
from sidestream.models.history.blocks import KEY_MARK
from sidestream.models.history.layout import NO_ERASURE, decode, entry_bytes
from sidestream.streams.contracts.decode import Limits, decode_listen
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.contracts.topics import DAY_MS
from sidestream.streams.errors import BadRecord
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin, is_reserved
from sidestream.streams.operate.states.offline import OfflineStates
from sidestream.streams.operate.states.remains import (
    Asked,
    kept_in_changelog,
    kept_in_table,
    misplaced_users,
    read_asked,
)
from sidestream.streams.operate.states.tables import other_tables
from sidestream.streams.runtime.clock import WallClock

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
        expired: Of the users of changelog and log, removed or begun anew after a pause of `lane.state_ttl_days`.
        kept: Erased users who are still held, counted once per place.
        misplaced: Users in a changelog partition that is not that of their key.
        wrong: Number of differences, the last two included.
        differences: The first differences, one line each.
        notes: What could not be checked, and why.
    """

    users: int = 0
    same_bytes: int = 0
    same_but_sids: int = 0
    unchecked_folds: int = 0
    table_users: int = 0
    expired: int = 0
    kept: int = 0
    misplaced: int = 0
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
    now_ms: int | None = None,
) -> VerifyReport:
    """Compare fold, changelog and, optionally, this machine's tables, one partition at a time.

    Args:
        offline: The states.
        lookup: Returns the current SID of an item key.
        limits: Bounds that listens must keep.
        with_tables: Whether to compare local tables, too.
        progress: Called with the number of compared partitions and of all partitions.
        now_ms: UTC epoch ms; the machine's time by default.

    Returns:
        The report.

    Raises:
        LaneError: A worker is running.
    """
    await asyncio.to_thread(offline.require_idle)
    committed = await asyncio.to_thread(offline.committed)
    bounds = await offline.bounds(offline.identity.source_topic)
    report, now_ms = VerifyReport(), WallClock()() if now_ms is None else now_ms
    asked = await read_asked(offline, await asyncio.to_thread(offline.committed, offline.topics.user_erasures.name))
    if asked.pending:
        report.notes.append(f"{asked.pending} requests to erase users are not applied yet: start a worker")
    for partition in range(offline.identity.num_partitions):
        progress(partition, offline.identity.num_partitions)
        values = await offline.changelog(partition)
        record = values.get(ORIGIN_KEY)
        states = {key: value for key, value in values.items() if not is_reserved(key)}
        users = {key: value for key, value in states.items() if not key.startswith(KEY_MARK)}
        report.users += len(users)
        _check_places(offline, partition, states, asked, report)
        begin = bounds[partition][0]
        if begin > 0 or (record is not None and Origin.from_bytes(record).carried):
            why = f"its log starts at offset {begin}" if begin else "its states were carried over from another source"
            report.notes.append(f"partition {partition}: the fold of {len(users)} users cannot be checked: {why}")
            report.unchecked_folds += len(users)
        else:
            await _compare_fold(offline, partition, users, committed.get(partition, 0), lookup, limits, report, now_ms)
        if with_tables:
            await asyncio.to_thread(_compare_tables, offline, partition, states, asked, report)
    progress(offline.identity.num_partitions, offline.identity.num_partitions)
    if with_tables and (others := other_tables(offline)):
        report.notes.append(
            f"{len(others)} local tables of other topics or partitions are not compared, the first is {others[0]}; a "
            "running worker deletes them, and so does `sidestream state tables --delete`"
        )
    return report


def _check_places(
    offline: OfflineStates, partition: int, states: Mapping[bytes, bytes], asked: Asked, report: VerifyReport
) -> None:
    for user in kept_in_changelog(states, asked):
        report.kept += 1
        report.differ(f"{_name(user)}: erased, and still held in changelog/{partition}")
    for user in misplaced_users(offline, partition, states):
        report.misplaced += 1
        report.differ(
            f"{_name(user)}: changelog/{partition} expected users of this partition, got one of partition "
            f"{offline.partition_of(user)}: a producer uses another partitioner"
        )


async def _compare_fold(
    offline: OfflineStates,
    partition: int,
    users: Mapping[bytes, bytes],
    committed: int,
    lookup: SidLookup,
    limits: Limits,
    report: VerifyReport,
    now_ms: int,
) -> None:
    listens: dict[bytes, list[tuple[int, ListenRow]]] = {}
    times: dict[int, int] = {}
    async for record in offline.read(offline.identity.source_topic, partition):
        try:
            listen = decode_listen(record.key, record.value, record.timestamp, limits)
        except BadRecord:  # it may have no key, or another one than its user
            continue
        listens.setdefault(record.key, []).append((record.offset, listen))
        times[record.offset] = record.timestamp
    keys = users.keys() | listens.keys()
    misplaced = frozenset(Placement(offline.topics.listens).misplaced([*keys], partition))
    for key in keys - misplaced:
        state, of_user = users.get(key), listens.get(key, [])
        try:
            watermark, erased_at = (-1, NO_ERASURE) if state is None else _marks(state)
            # Without transactions the changelog may be ahead of the committed offset.
            folded = [(offset, listen) for offset, listen in of_user if offset < committed or offset <= watermark]
            start = None if erased_at == NO_ERASURE else erase(None, erased_at)
            expected = fold(start, folded, lookup, offline.lane.history_events).state if folded or start else None
            begins = _begins_after_pauses([times[offset] for offset, _ in folded], offline.lane.state_ttl_days, now_ms)
            if state == expected:
                report.same_bytes += state is not None
            elif state is not None and expected is not None and _facts(state) == _facts(expected):
                report.same_but_sids += 1
            elif _is_fold_of_a_rest(state, start, folded, begins, lookup, offline.lane.history_events):
                report.expired += 1
            else:
                report.differ(
                    f"{_name(key)}: changelog/{partition} expected {_describe(expected)}, got {_describe(state)}"
                )
        except StateError as exc:
            report.differ(f"{_name(key)}: changelog/{partition}: {exc}")


def _begins_after_pauses(times_ms: Sequence[int], days: float | None, now_ms: int) -> list[int]:
    """Return the listens before which a user may have been removed; the number of listens: after all of them."""
    if days is None or not times_ms:
        return []
    pause_ms = days * DAY_MS
    ends = [*times_ms[1:], now_ms]
    return [place + 1 for place, (at, then) in enumerate(zip(times_ms, ends, strict=True)) if then - at >= pause_ms]


def _is_fold_of_a_rest(
    state: bytes | None,
    start: bytes | None,
    folded: Sequence[tuple[int, ListenRow]],
    begins: Sequence[int],
    lookup: SidLookup,
    history_events: int,
) -> bool:
    for begin in begins:
        rest = folded[begin:]
        expected = fold(start, rest, lookup, history_events).state if rest or start else None
        if state == expected or (state is not None and expected is not None and _facts(state) == _facts(expected)):
            return True
    return False


def _compare_tables(
    offline: OfflineStates, partition: int, states: Mapping[bytes, bytes], asked: Asked, report: VerifyReport
) -> None:
    """Compare the most recent local table of a partition, and look for erased users in all of them."""
    tables = sorted(offline.read_tables(partition), key=lambda table: table.positions.changelog_offset)
    if not tables:
        report.notes.append(f"partition {partition}: no local table here")
        return
    for table in tables:
        kept = kept_in_table(table.values, states, asked)
        for user in kept:
            report.kept += 1
            report.differ(f"{_name(user)}: table/{partition} holds a user who was erased or removed, in {table.path}")
    found, known = tables[-1].values, frozenset(kept)
    report.table_users += sum(not key.startswith(KEY_MARK) for key in found)
    for key in found.keys() | states.keys():
        if found.get(key) != states.get(key) and _user_of(key) not in known:
            expected, got = _describe(states.get(key)), _describe(found.get(key))
            report.differ(f"{_name(key)}: table/{partition} expected {expected} as in the changelog, got {got}")


def _user_of(key: bytes) -> bytes:
    split = split_block_key(key)
    return key if split is None else split[0]


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
