"""States on a real Kafka while no worker runs: verified, carried over to other topics, removed."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kafka.partitioner.default import murmur2

from sidestream.models.history import describe
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, create_topics
from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.read_rules import Place
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.operate.states import OfflineStates, rebase_states, reset_states, verify_states
from sidestream.streams.operate.states.lost import skip_lost
from tests.integration.rigs.lane_rig import Rig, make_listens, open_rig, wait_until
from tests.integration.rigs.lane_worker import LANE, static_lookup, user_table

pytestmark = pytest.mark.broker


@pytest.fixture
def rig(kafka, make_topics, tmp_path) -> Iterator[Rig]:
    yield from open_rig(kafka, make_topics, tmp_path, guarantee="exactly_once", session_ms=3_000)


def offline(rig: Rig, lane: LaneSettings = LANE) -> OfflineStates:
    return OfflineStates(rig.clients, rig.topics, lane, rig.prefix + "lane", rig.data_dir("a") / "user-state")


def verified(rig: Rig, with_tables: bool = True):
    return asyncio.run(verify_states(offline(rig), static_lookup, Limits(), with_tables=with_tables))


def folded_once(rig: Rig, count: int = 600) -> None:
    worker = rig.start_worker()
    rig.produce(make_listens(count, users=60, seed=5))
    rig.wait_drained()
    assert rig.stop(worker) == 0


def recreate(rig: Rig, *specs) -> None:
    admin = rig.clients.admin()
    admin.delete_topics([spec.name for spec in specs])
    wait_until(lambda: not {spec.name for spec in specs} & set(admin.list_topics()), 20, "topics are gone")
    admin.close()
    make(rig, specs)


def make(rig: Rig, specs) -> None:
    admin = KafkaTopicAdmin(rig.clients)
    create_topics(admin, specs)
    admin.close()


def refused(rig: Rig, name: str = "a") -> str:
    """Start a worker that must end; return its output."""
    worker = rig.start_worker(name)
    assert worker.wait(40) not in (0, -9), rig.logs()
    rig.workers.remove(worker)
    return rig.log(name)


def lengths(states: dict[bytes, bytes]) -> dict[bytes, int]:
    return {key: len(describe(value, lambda item: str(item))["history"]) for key, value in states.items()}


def one_listen(user: str, event: str) -> tuple[bytes, bytes]:
    fields = {"event_id": event, "user_id": user, "item_id": "item-1", "at": 1_800_000_000_000}
    return user.encode(), json.dumps({**fields, "at": 1_750_000_000_000}).encode()


def test_verify_finds_every_planted_difference_and_no_other(rig):
    folded_once(rig)
    report = verified(rig)
    assert report.wrong == 0
    assert report.users == report.same_bytes == report.table_users > 0
    assert not report.notes
    user, state = next(iter(rig.changelog().items()))
    tables = user_table(rig.data_dir("a"), rig.topics)
    partition = (murmur2(user) & 0x7FFFFFFF) % 4
    table = tables.open([partition])[partition]
    table.write({user: None, b"nobody": state}, table.positions)
    tables.close()
    report = verified(rig)
    assert report.wrong == 2
    assert any("nobody: table/" in line for line in report.differences)
    assert verified(rig, with_tables=False).wrong == 0


def test_offline_commands_are_refused_while_a_worker_runs(rig):
    worker = rig.start_worker()
    rig.produce(make_listens(50, users=5, seed=6))
    rig.wait_drained()
    for command in (rebase_states(offline(rig)), reset_states(offline(rig), [0])):
        with pytest.raises(LaneError, match="expected no members, got 1"):
            asyncio.run(command)
    assert rig.stop(worker) == 0
    assert asyncio.run(rebase_states(offline(rig))).current == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "lose_table",
    [pytest.param(False, id="table kept"), pytest.param(True, id="table lost", marks=pytest.mark.slow)],
)
def test_recreated_source_is_refused_and_its_states_carried_over(rig, lose_table):
    folded_once(rig)
    before = rig.changelog()
    recreate(rig, rig.topics.listens)
    user = next(iter(before)).decode()
    rig.produced = 0
    # As many as before, so that offsets do not show it.
    rig.produce([one_listen(user, f"new-{number % 3}") for number in range(600)])
    name = "b" if lose_table else "a"
    said = refused(rig, name)
    assert "source topic recreated: expected topic id" in said
    assert "sidestream state rebase" in said
    wait_until(lambda: _is_idle(rig), 20, "the group is empty")
    assert rig.changelog() == before
    report = asyncio.run(rebase_states(offline(rig)))
    assert (report.rebased, report.states, report.moved) == (4, len(before), 0)
    assert asyncio.run(rebase_states(offline(rig))).current == 4
    worker = rig.start_worker(name)
    rig.wait_drained()
    assert rig.stop(worker) == 0
    after = lengths(rig.changelog())
    grown = {key: size - lengths(before)[key] for key, size in after.items()}
    # The ring holds fifty at most, and two of three new events are known by their ids after the first.
    assert grown.pop(user.encode()) == min(3, 50 - lengths(before)[user.encode()])
    assert set(grown.values()) == {0}
    assert len(verified(rig, with_tables=False).notes) == 4


def _is_idle(rig: Rig) -> bool:
    try:
        offline(rig).require_idle()
    except LaneError:
        return False
    return True


@pytest.mark.slow
def test_recreated_changelog_is_refused_and_filled_from_the_local_table(rig):
    folded_once(rig)
    before = rig.changelog()
    recreate(rig, rig.topics.user_state_changelog)
    said = refused(rig)
    assert "changelog recreated: expected topic id" in said
    assert "changelog" in refused(rig, "b")  # and a fresh disk does not fold onto nothing
    assert "emptied: expected the states of" in rig.log("b")
    wait_until(lambda: _is_idle(rig), 20, "the group is empty")
    report = asyncio.run(rebase_states(offline(rig)))
    assert report.from_tables == report.states == len(before)
    assert rig.changelog() == before
    rig.produce(make_listens(200, users=60, seed=7))
    worker = rig.start_worker()
    rig.wait_drained()
    assert rig.stop(worker) == 0
    assert verified(rig).wrong == 0


@pytest.mark.slow
def test_repartitioned_source_moves_each_user_to_the_new_partition(rig, tmp_path):
    folded_once(rig)
    before = rig.changelog()
    admin = rig.clients.admin()
    # What the lane goes through partition by partition is left to the command.
    left = {rig.topics.user_state_changelog.name, rig.topics.user_erasures.name, rig.topics.item_counts.name}
    of_users = {spec.name for spec in rig.topics if spec.key == "user_id"} - left
    admin.create_partitions(dict.fromkeys(of_users, 8))
    admin.close()
    rig.topics = build_topics(TopicSettings(prefix=rig.prefix, user_partitions=8, item_partitions=2))
    wait_until(lambda: offline(rig).existing_topics()[rig.topics.listens.name].partitions == 8, 20, "partitions")
    report = asyncio.run(rebase_states(offline(rig)))
    assert report.rebased == 8
    assert 0 < report.moved == report.states < len(before)
    records = {r.key: r for r in rig.read_all(rig.topics.user_state_changelog.name) if r.key in before and r.value}
    last = {key: (record.partition, record.value) for key, record in records.items()}
    homes = {key: (murmur2(key) & 0x7FFFFFFF) % 8 for key in before}
    moved = [key for key, home in homes.items() if home >= 4]
    assert {key for key in moved if last[key][0] == homes[key]} == set(moved)
    stayed = {key: value for key, value in before.items() if homes[key] < 4}
    assert {key: last[key][1] for key in stayed} == stayed
    rig.produce(make_listens(300, users=60, seed=8))
    worker = rig.start_worker()
    rig.wait_drained()
    assert rig.stop(worker) == 0
    assert sum(lengths(rig.changelog()).values()) > sum(lengths(before).values())


@pytest.mark.slow
def test_a_changed_partitioner_moves_each_user_and_back(rig):
    folded_once(rig)
    before, murmur2_topics = rig.changelog(), rig.topics
    for name in ("crc32", "murmur2"):
        settings = TopicSettings(prefix=rig.prefix, user_partitions=4, item_partitions=2, partitioner=name)
        rig.topics = build_topics(settings)
        report = asyncio.run(rebase_states(offline(rig)))
        assert report.rebased == 4
        assert report.moved > 0
        assert all("topics.partitioner changed" in reason for reason in report.reasons)
        last = {(r.partition, r.key): r.value for r in rig.read_all(rig.topics.user_state_changelog.name)}
        places = {(partition_of(key, 4, name), key) for key in before}
        assert {place for place, value in last.items() if value and place[1] in before} == places
        assert asyncio.run(rebase_states(offline(rig))).current == 4
        moved = {key: last[place] for place in places for key in place[1:]}
        assert lengths(moved) == lengths(before)
    rig.topics = murmur2_topics
    rig.produce(make_listens(200, users=60, seed=9))
    worker = rig.start_worker()
    rig.wait_drained()
    assert rig.stop(worker) == 0


@pytest.mark.slow
def test_verify_tells_of_states_in_wrong_partitions_and_compares_the_others(rig):
    folded_once(rig)
    rig.topics = build_topics(
        TopicSettings(prefix=rig.prefix, user_partitions=4, item_partitions=2, partitioner="crc32")
    )
    report = verified(rig, with_tables=False)
    strays = [key for key in rig.changelog() if partition_of(key, 4) != partition_of(key, 4, "crc32")]
    assert report.misplaced == report.wrong == len(strays) > 0
    assert all("a producer uses another partitioner" in line for line in report.differences)
    assert report.same_bytes == report.users - len(strays)


@pytest.mark.slow
def test_reset_rebuilds_tables_and_with_everything_folds_the_log_again(rig):
    folded_once(rig)
    before, path = rig.changelog(), offline(rig).local_path(0)
    report = asyncio.run(reset_states(offline(rig), [0]))
    assert (report.tables, report.values) == (1, 0)
    assert not Path(path).exists()
    report = asyncio.run(reset_states(offline(rig), [0, 1, 2, 3], everything=True))
    assert report.values == len(before) + 4
    assert not any(rig.changelog().values())
    worker = rig.start_worker()
    rig.wait_drained()
    assert rig.stop(worker) == 0
    assert {key: value for key, value in rig.changelog().items() if value} == before


@pytest.mark.slow
def test_listens_deleted_before_they_were_folded_stop_a_worker_until_they_are_skipped(rig):
    folded_once(rig, count=200)
    rig.produce(make_listens(300, users=60, seed=6))
    ends = asyncio.run(offline(rig).bounds(rig.topics.listens.name))
    committed = offline(rig).committed()
    admin = rig.clients.admin()
    admin.delete_records({Place(rig.topics.listens.name, p): end for p, (_, end) in ends.items()})
    admin.close()
    said = refused(rig)
    assert "were deleted by retention before they were folded" in said
    assert "state skip-lost" in said
    gaps = asyncio.run(skip_lost(offline(rig)))
    assert {gap.partition: (gap.first, gap.end) for gap in gaps} == {
        p: (committed[p], end) for p, (_, end) in ends.items() if committed[p] < end
    }
    assert asyncio.run(skip_lost(offline(rig))) == []
    worker = rig.start_worker()
    rig.produce(make_listens(100, users=60, seed=7))
    rig.wait_drained()
    assert rig.stop(worker) == 0


@pytest.mark.slow
def test_verify_names_erased_users_who_are_still_held(rig):
    folded_once(rig)
    with SidestreamClient(rig.kafka, TopicSettings(prefix=rig.prefix, user_partitions=4)) as client:
        client.erase_user("user-1")
    worker = rig.start_worker("b")
    wait_until(lambda: rig.committed(rig.topics.user_erasures.name) >= 1, 40, "the request")
    assert rig.stop(worker) == 0
    states = offline(rig)
    a, b = (rig.data_dir(name) / "user-state" for name in "ab")

    def report(folder: Path, *more: Path):
        found = replace(states, folder=folder, more_folders=more)
        return asyncio.run(verify_states(found, static_lookup, Limits(), with_tables=True))

    assert (report(b).wrong, report(b).kept) == (0, 0)
    # The table that the former owner left behind.
    found = report(b, a)
    assert found.kept == found.wrong == 1
    partition = states.partition_of(b"user-1")
    assert found.differences == [
        f"user-1: table/{partition} holds a user who was erased or removed, in {a}/{rig.topics.listens.name}/"
        f"{partition}.db"
    ]
    # A state of a producer with another partitioner.
    elsewhere = (partition + 1) % 4
    producer = rig.clients.producer()
    state = next(value for key, value in rig.changelog().items() if key == b"user-2")
    producer.send(rig.topics.user_state_changelog.name, key=b"user-1", value=state, partition=elsewhere)
    producer.flush(10)
    producer.close()
    found = asyncio.run(verify_states(states, static_lookup, Limits(), with_tables=False))
    assert (found.kept, found.misplaced) == (1, 1)
    assert any(line == f"user-1: erased, and still held in changelog/{elsewhere}" for line in found.differences)
