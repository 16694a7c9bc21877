"""State commands that are killed midway and run again or not: the states equal the fold."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.partitioner.default import murmur2

from sidestream.models.history import block_key, describe, fold, is_erased, rebase
from sidestream.models.history.blocks import KEY_MARK
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.decode import decode_listen
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.errors import BadRecord
from tests.integration.operate.test_states_offline import folded_once, offline, recreate, refused, verified
from tests.integration.rigs.lane_rig import ROOT, Rig, make_listens, open_rig, wait_until
from tests.integration.rigs.lane_worker import LANE, static_lookup

pytestmark = [pytest.mark.broker, pytest.mark.slow]
PROCESS = Path(__file__).parents[1] / "rigs" / "offline_process.py"
KILLED = -9
# In the first transaction, between two, in later ones; earlier work is found again each time.
FAULTS = [("sent", 1), ("committed", 1), ("offsets", 3), ("committed", 4), ("committed", 5), ("begin", 4), ("sent", 3)]
# After all listens that are made up, before now.
ERASED_AT = 1_750_000_000_000
WAYS = ("recreated source", "recreated changelog", "repartitioned")


@pytest.fixture
def rig(kafka, make_topics, tmp_path) -> Iterator[Rig]:
    yield from open_rig(kafka, make_topics, tmp_path, guarantee="exactly_once", session_ms=3_000)


def run(rig: Rig, command: str, fault: tuple[str, int] | None = None, **options) -> tuple[int, str]:
    """Run a command; return its exit code and output."""
    config = {
        "command": command,
        "options": options,
        "bootstrap": rig.kafka.bootstrap,
        "prefix": rig.prefix,
        "partitions": rig.topics.listens.partitions,
        "data_dir": str(rig.data_dir("a")),
        "guarantee": rig.guarantee,
        "fault": None if fault is None else {"point": fault[0], "at": fault[1]},
    }
    done = subprocess.run(
        [sys.executable, str(PROCESS), json.dumps(config)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def run_to_the_end(rig: Rig, command: str, **options) -> None:
    code, said = run(rig, command, **options)
    assert code == 0, said


def home(key: bytes, partitions: int) -> int:
    """The partition of a user's key, or of a key of the user's blocks."""
    user = key[1 : key.index(KEY_MARK, 1)] if key.startswith(KEY_MARK) else key
    return (murmur2(user) & 0x7FFFFFFF) % partitions


def ends(rig: Rig) -> dict[int, int]:
    consumer = rig.clients.consumer()
    try:
        tps = [TopicPartition(rig.topics.listens.name, p) for p in range(rig.topics.listens.partitions)]
        return {tp.partition: end for tp, end in consumer.end_offsets(tps).items()}
    finally:
        consumer.close()


def folded_on(rig: Rig, states: dict[bytes, bytes], begins: dict[int, int]) -> dict[bytes, bytes]:
    """States and blocks after the listens from the given offsets on."""
    made = dict(states)
    for record in rig.read_all(rig.topics.listens.name):
        if record.offset < begins.get(record.partition, 0):
            continue
        try:
            listen = decode_listen(record.key, record.value, record.timestamp)
        except BadRecord:
            continue
        result = fold(made.get(record.key), [(record.offset, listen)], static_lookup, LANE.history_events)
        made[record.key] = result.state
        made.update((block_key(record.key, slot), block) for slot, block in result.blocks.items())
    return made


def placed(rig: Rig) -> dict[tuple[int, bytes], bytes]:
    """The changelog by partition and key."""
    last = {}
    for record in rig.read_all(rig.topics.user_state_changelog.name):
        last[record.partition, record.key] = record.value
    return {place: value for place, value in last.items() if value and place[1][:2] != b"\xff\xff"}


def values(rig: Rig) -> dict[bytes, bytes]:
    """The changelog, each key in its partition and no other."""
    count, found = rig.topics.listens.partitions, placed(rig)
    assert all(home(key, count) == partition for partition, key in found)
    return {key: value for (_, key), value in found.items()}


def folded_by_a_worker(rig: Rig) -> dict[bytes, bytes]:
    worker = rig.start_worker()
    rig.wait_drained()
    assert rig.stop(worker) == 0
    made = values(rig)
    assert rig.table() == made
    return made


def repartition(rig: Rig, partitions: int = 8) -> None:
    admin = rig.clients.admin()
    # The changelog is left to the command.
    of_users = {spec.name for spec in rig.topics if spec.key == "user_id"} - {rig.topics.user_state_changelog.name}
    admin.create_partitions(dict.fromkeys(of_users, partitions))
    admin.close()
    rig.topics = build_topics(TopicSettings(prefix=rig.prefix, user_partitions=partitions, item_partitions=2))
    wait_until(
        lambda: offline(rig).existing_topics()[rig.topics.listens.name].partitions == partitions, 20, "partitions"
    )


def erase_user(rig: Rig, user: bytes, at: int) -> None:
    settings = TopicSettings(prefix=rig.prefix, user_partitions=rig.topics.listens.partitions)
    with SidestreamClient(rig.kafka, settings) as client:
        client.erase_user(user.decode(), at=at)


def busiest(states: dict[bytes, bytes], homes: tuple[int, ...] = (), partitions: int = 4) -> bytes:
    """A user with the longest history, of the given partitions."""
    users = [k for k in states if k[:1] != KEY_MARK and (not homes or home(k, partitions) in homes)]
    return max(users, key=lambda user: len(describe(states[user])["history"]))


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_rebase_can_be_repeated_from_any_point(rig, way):
    folded_once(rig, 4_000)
    before = rig.expected()[0]
    assert values(rig) == before
    begins = ends(rig)
    if way == "recreated source":
        recreate(rig, rig.topics.listens)
        rig.produced, begins = 0, {}
        expected = {key: value if key[:1] == KEY_MARK else rebase(value) for key, value in before.items()}
    elif way == "recreated changelog":
        recreate(rig, rig.topics.user_state_changelog)
        expected = before
    else:
        repartition(rig)
        moved = [key for key in before if home(key, 8) >= 4 and key[:1] != KEY_MARK]
        expected = {**before, **{key: rebase(before[key]) for key in moved}}
    codes = [run(rig, "rebase", fault)[0] for fault in FAULTS]
    assert codes.count(KILLED) >= 4
    assert set(codes) <= {KILLED, 0}
    if codes[-1] == KILLED:
        assert "sidestream state rebase" in refused(rig)
        wait_until(lambda: run(rig, "rebase")[0] == 0, 30, "the group is empty, and all is carried over")
    run_to_the_end(rig, "rebase")
    assert values(rig) == expected
    rig.produce(make_listens(1_000, users=60, seed=11))
    assert folded_by_a_worker(rig) == folded_on(rig, expected, begins)
    if way == "recreated changelog":
        assert verified(rig).wrong == 0


def folded_and_one_erased(rig: Rig) -> tuple[dict[bytes, bytes], bytes]:
    """Have listens folded and the busiest user erased; return the states before that, and the user."""
    folded_once(rig, 2_000)
    states = rig.expected()[0]
    user = busiest(states)
    erase_user(rig, user, at=ERASED_AT)
    worker = rig.start_worker()
    wait_until(lambda: is_erased(rig.changelog()[user]), 90, "the user is erased")
    assert rig.stop(worker) == 0
    return states, user


def test_a_killed_refold_gives_the_fold_of_the_log_without_erased_users(rig):
    states, user = folded_and_one_erased(rig)
    recreate(rig, rig.topics.user_state_changelog)
    shutil.rmtree(rig.data_dir("a"))
    code, said = run(rig, "rebase")
    assert code == 1
    assert "or with --refold to fold what the source still has" in said
    codes = [run(rig, "rebase", fault, refold=True)[0] for fault in (("committed", 2), ("sent", 1))]
    assert codes == [KILLED, KILLED]
    run_to_the_end(rig, "rebase", refold=True)
    made = folded_by_a_worker(rig)
    assert is_erased(made.pop(user))
    assert made == {key: value for key, value in states.items() if not _is_of(key, user)}


def _is_of(key: bytes, user: bytes) -> bool:
    return key == user or key.startswith(KEY_MARK + user + KEY_MARK)


def test_only_listens_of_moving_users_are_left_unfolded(rig):
    folded_once(rig, 2_000)
    states, begins = values(rig), ends(rig)
    rig.produce(make_listens(500, users=60, seed=12))
    repartition(rig)
    code, said = run(rig, "rebase")
    assert code == 1
    assert "--leave-unfolded continues without them" in said
    assert run(rig, "rebase", ("committed", 3), leave_unfolded=True)[0] == KILLED
    run_to_the_end(rig, "rebase", leave_unfolded=True)
    moved = [key for key in states if home(key, 8) >= 4 and key[:1] != KEY_MARK]
    expected = {**states, **{key: rebase(states[key]) for key in moved}}
    assert values(rig) == expected
    worker = rig.start_worker()
    rig.wait_drained()
    assert rig.stop(worker) == 0
    found = placed(rig)
    made = {key: value for (partition, key), value in found.items() if home(key, 8) == partition}
    folded = folded_on(rig, expected, begins)
    stayed = {key for key in folded if home(key, 8) < 4}
    assert {key: made[key] for key in stayed} == {key: folded[key] for key in stayed}
    assert {k: v for k, v in made.items() if k not in stayed} == {k: v for k, v in expected.items() if home(k, 8) >= 4}
    # The others' were folded into states that are never read.
    assert all(home(key, 8) in (partition, partition + 4) for partition, key in found)


def test_pending_erasures_move_with_their_users(rig):
    folded_once(rig, 2_000)
    states = values(rig)
    movers = tuple(range(4, 8))
    user = busiest(states, movers, 8)
    erase_user(rig, user, at=ERASED_AT)
    repartition(rig)
    assert run(rig, "rebase", ("committed", 6))[0] == KILLED
    run_to_the_end(rig, "rebase")
    worker = rig.start_worker()
    wait_until(lambda: is_erased(values(rig)[user]), 90, "the user is erased")
    assert rig.stop(worker) == 0
    made = values(rig)
    assert not [key for key in made if _is_of(key, user) and key != user]
    assert {key: made[key] for key in states if home(key, 8) < 4} == {k: v for k, v in states.items() if home(k, 8) < 4}


@pytest.mark.parametrize("again", [True, False], ids=["run again", "never again"])
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_a_killed_reset_loses_no_state_and_restores_no_erased_user(rig, again, guarantee):
    rig.guarantee = guarantee
    states, user = folded_and_one_erased(rig)
    assert run(rig, "reset", ("published", 2))[0] == KILLED
    if again:
        run_to_the_end(rig, "reset")
    # Of what is still in the states nothing is folded, and nothing committed, before a listen comes.
    rig.produce(make_listens(300, users=60, seed=13))
    states = rig.expected()[0]
    made = folded_by_a_worker(rig)
    assert is_erased(made.pop(user))
    assert made == {key: value for key, value in states.items() if not _is_of(key, user)}
