"""No byte of an erased user is left on the disk of any worker, neither of the owner nor of a former one."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import TopicPartition

from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.tokenizer.sid import item_key
from tests.integration.rigs.lane_rig import Rig, open_rig, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]
PARTITIONS = 4
FIRST_AT = 1_700_000_000_000
HASTE = {"table_cleanup_s": 2, "table": {"purge_s": 3}, "erasure_keep_days": 0, "erasure_sweep_s": 0.5}


@pytest.fixture
def rig(kafka, make_topics, tmp_path) -> Iterator[Rig]:
    yield from open_rig(kafka, make_topics, tmp_path, guarantee="exactly_once", session_ms=3_000, lane=HASTE)


def one_each(word: str) -> list[str]:
    """A user of each partition; ids without a part in common, which compression would store once."""
    found: dict[int, str] = {}
    for number in range(100):
        user = hashlib.sha256(f"{word}{number}".encode()).hexdigest()
        found.setdefault(partition_of(user.encode(), PARTITIONS), user)
    return [found[partition] for partition in range(PARTITIONS)]


ERASED, OTHERS = one_each("erased"), one_each("other")
SECRETS = [f"secret-{number}" for number in range(100)]
# What is searched for: the users' ids, and the items that only they heard, as the states store them.
TRACES = [user.encode() for user in ERASED] + [item_key(item).to_bytes(8, "little") for item in SECRETS]


def listens(users: list[str], items: list[str]) -> list[tuple[bytes, bytes]]:
    return [
        (
            user.encode(),
            json.dumps({"event_id": f"{user}/{n}", "user_id": user, "item_id": item, "at": FIRST_AT + n}).encode(),
        )
        for user in users
        for n, item in enumerate(items)
    ]


def holding(folder: Path, traces: list[bytes]) -> list[Path]:
    """Files below a folder that hold one of some byte strings."""
    found = []
    for file in folder.rglob("*"):
        try:
            content = file.read_bytes() if file.is_file() else b""
        except FileNotFoundError:
            continue
        if any(trace in content for trace in traces):
            found.append(file)
    return found


def tables(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("user-state/*/*.db"))


def delete_listens(rig: Rig) -> None:
    """Delete all listens, as retention does."""
    places = [TopicPartition(rig.topics.listens.name, number) for number in range(PARTITIONS)]
    consumer, admin = rig.clients.consumer(), rig.clients.admin()
    try:
        admin.delete_records(consumer.end_offsets(places))
    finally:
        consumer.close()
        admin.close()


def test_no_byte_of_an_erased_user_is_left_on_any_disk(rig):
    folders = [rig.data_dir(name) for name in "ab"]
    first = rig.start_worker("a")
    rig.produce(listens(ERASED, SECRETS) + listens(OTHERS, ["public"]))
    rig.wait_drained()
    assert tables(folders[0]) == ["0.db", "1.db", "2.db", "3.db"]
    assert holding(folders[0], TRACES)
    # Before the tables that move away are deleted, so that both workers hold the users at the same time.
    second = rig.start_worker("b")
    wait_until(lambda: holding(folders[1], TRACES), 30, "b has taken over partitions")
    rig.produce(listens(OTHERS, ["public", "later"]))
    rig.wait_drained()

    settings = TopicSettings(prefix=rig.prefix, user_partitions=PARTITIONS)
    with SidestreamClient(rig.kafka, settings) as client:
        for user in ERASED:
            client.erase_user(user)
    wait_until(lambda: rig.committed(rig.topics.user_erasures.name) >= PARTITIONS, 40, "requests applied")
    wait_until(lambda: len(tables(folders[0]) + tables(folders[1])) == PARTITIONS, 30, "one table per partition")
    assert sorted(tables(folders[0]) + tables(folders[1])) == ["0.db", "1.db", "2.db", "3.db"]
    # Their watermarks stay while listens from before the erasure may come again.
    delete_listens(rig)
    for folder in folders:
        wait_until(lambda folder=folder: not holding(folder, TRACES), 60, f"nothing of the users in {folder}")
    assert first.poll() is None
    assert second.poll() is None
    assert all(holding(folder, [user.encode() for user in OTHERS]) for folder in folders)
