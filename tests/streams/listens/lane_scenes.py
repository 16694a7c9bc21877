"""Lanes on an in-memory Kafka, run to the end of their listens, and the pure fold to compare with."""

import asyncio
import itertools
from pathlib import Path

from sidestream.models.history import block_key, fold
from sidestream.streams.contracts.decode import decode_listen
from sidestream.streams.listens.lane import ListenLane
from sidestream.streams.listens.restore.origin import is_reserved
from sidestream.streams.listens.settings import LaneSettings, TableSettings
from sidestream.streams.listens.table.meta import TableIdentity
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.clock import WallClock
from sidestream.tokenizer.catalogue import StoredSid
from tests.streams.listens.fake_kafka import FakeKafka
from tests.streams.listens.lane_counts import LaneCounts

IDENTITY = TableIdentity("listens", "changelog", 2)
TABLE = TableSettings(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
LANE = LaneSettings(max_batch_records=10, restore_batch_records=7, history_events=20, table=TABLE)
PARTITIONS = {0, 1}
GUARANTEES = ("exactly_once", "at_least_once")


def lookup(key: int) -> StoredSid | None:
    return None if key % 3 == 0 else StoredSid("0123456789ab", (key % 256, 1, 2))


def make_lane(kafka: FakeKafka, folder: Path, guarantee: str = "exactly_once", **options) -> ListenLane:
    table = UserTable(folder, IDENTITY, TABLE, options.pop("wall", WallClock()))
    lane_settings = LANE.model_copy(update={"guarantee": guarantee, **options.pop("lane", {})})
    metrics = options.pop("metrics", None) or LaneCounts()
    return ListenLane(kafka, kafka, table, decode_listen, lookup, lane_settings, metrics, **options)


def expected(kafka: FakeKafka) -> dict[bytes, bytes]:
    listens: dict[bytes, list] = {}
    for partition in PARTITIONS:
        for record in kafka.logs["listens", partition]:
            if record.value not in (b"{bad", None):
                listen = decode_listen(record.key, record.value, record.timestamp)
                listens.setdefault(record.key, []).append((record.offset, listen))
    values: dict[bytes, bytes] = {}
    for user, of_user in listens.items():
        result = fold(None, of_user, lookup, LANE.history_events)
        values[user] = result.state
        values.update((block_key(user, slot), block) for slot, block in result.blocks.items())
    return values


def changelog(kafka: FakeKafka) -> dict[bytes, bytes]:
    records = [r for partition in PARTITIONS for r in kafka.visible("changelog", partition)]
    return {r.key: r.value for r in records if not is_reserved(r.key)}


def dead_letters(kafka: FakeKafka) -> list[tuple[int, int]]:
    """Partition and offset in the headers of the dead letters."""
    letters = [dict(r.headers) for p in PARTITIONS for r in kafka.visible("listens.dlq", p)]
    return sorted((int(h["__streams.errors.partition"]), int(h["__streams.errors.offset"])) for h in letters)


def bad_records(kafka: FakeKafka) -> list[tuple[int, int]]:
    return [(p, r.offset) for p in sorted(PARTITIONS) for r in kafka.logs["listens", p] if r.value in (b"{bad", None)]


def done(kafka: FakeKafka, lane: ListenLane) -> dict[int, int]:
    """Offsets up to which everything is durable, whether committed by the lane or by Faust."""
    return dict(lane.committable()) or kafka.offsets


def has_overlay(lane: ListenLane) -> bool:
    """Whether folded values may not be in a table yet."""
    return any(fold.folding is None or fold.folding.overlay for fold in lane._folds.values())


async def drain(kafka: FakeKafka, lane: ListenLane) -> None:
    """Wait until everything is folded or the lane has stopped."""
    async with asyncio.timeout(20):
        while not kafka.crashes and not (
            lane._all_ready.is_set()
            and all(done(kafka, lane).get(p, 0) == kafka.end("listens", p) for p in PARTITIONS)
            and not has_overlay(lane)
        ):
            await asyncio.sleep(0.001)


async def run_to_end(kafka: FakeKafka, folder: Path, guarantee: str = "exactly_once", **options) -> dict[bytes, bytes]:
    lane = make_lane(kafka, folder, guarantee, **options)
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    states = {}
    if not kafka.crashes:
        users = {r.key for p in PARTITIONS for r in kafka.logs["listens", p] if r.key is not None}
        states = {u: v for u in users for p in PARTITIONS if (v := lane.read(p, u.decode())) is not None}
        for user, partition in itertools.product(users, PARTITIONS):
            _, blocks = lane.history(partition, user.decode())
            states.update((block_key(user, slot), block) for slot, block in blocks.items())
    await lane.close()
    kafka.offsets.update(lane.committable())
    return states


def fill(kafka: FakeKafka, count: int, users: int = 9) -> None:
    for number in range(count):
        partition = number % users % 2
        if number % 11 == 5:
            kafka.append("listens", partition, *((b"u", b"{bad") if number % 2 else (None, None)))
        else:
            kafka.listen(partition, f"u{number % users}", number)
