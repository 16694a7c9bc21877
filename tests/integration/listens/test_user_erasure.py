"""Erased users on a real Kafka: removed from tables, reads and changelog, at once, after crashes and permanently."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import block_prefix, describe, erase, fold, forget, is_erased
from sidestream.models.history.blocks import KEY_MARK
from sidestream.models.records import UserErasure
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.decode import decode_listen, decode_user_erasure
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.operate.states.offline import OfflineStates
from sidestream.streams.operate.states.reset import reset_states
from sidestream.tokenizer.sid import item_key
from tests.integration.rigs.lane_rig import Rig, make_listens, wait_until
from tests.integration.rigs.lane_worker import LANE, static_lookup
from tests.integration.rigs.session_rig import ROOT
from tests.integration.rigs.session_rig import Rig as SessionRig

pytestmark = pytest.mark.broker
HASTE = {
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
    "max.compaction.lag.ms": "100",
    "delete.retention.ms": "100",
}


def wait_compacted(clients: Clients, topic: str, key: bytes, count: int) -> list[bytes | None]:
    """Wait until a number of records of a key remain; others of its partition close the segments in the meantime."""
    deadline = time.monotonic() + 60
    producer = clients.producer()
    try:
        while time.monotonic() < deadline:
            left = [record.value for record in read_topic(clients, topic) if record.key == key]
            if len(left) == count:
                return left
            producer.send(topic, key=b"filler", value=b"x")
            producer.flush(10)
    finally:
        producer.close()
    raise AssertionError(f"{len(left)} records of {key!r} after 60 s, expected {count}")


@pytest.mark.slow
def test_compaction_leaves_two_watermarks_and_then_nothing(kafka, make_topics):
    clients, topics = Clients(kafka.kafka), make_topics(user_partitions=1)
    changelog = topics.user_state_changelog.name
    admin = clients.admin()
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, changelog, HASTE)])
    admin.close()
    states = [None]
    for number in range(30):
        listen = ListenRow(event_id=f"e{number}", user_id="u", item_id=f"secret-{number}", at=FIRST_AT + number)
        states.append(fold(states[-1], [(number, listen)], lambda _: None).state)
    request = UserErasure(erasure_id="r", user_id="u", at=FIRST_AT + 4_000)
    erasure = decode_user_erasure(b"u", request.to_json(), request.at)
    states.append(erase(states[-1], erasure.at))

    producer = clients.producer()
    for state in states[1:]:
        producer.send(changelog, key=b"u", value=state)
    producer.flush(10)
    (left,) = wait_compacted(clients, changelog, b"u", 1)
    assert left == states[-1]
    assert describe(left)["watermarks"] == {"listens": 29}
    whole = b"".join(record.value or b"" for record in read_topic(clients, changelog))
    assert not any(item_key(f"secret-{number}").to_bytes(8, "little") in whole for number in range(30))

    producer.send(changelog, key=b"u", value=forget(left))
    producer.flush(10)
    producer.close()
    wait_compacted(clients, changelog, b"u", 0)


GUARANTEES = ("exactly_once", pytest.param("at_least_once", marks=pytest.mark.slow))
FIRST_AT = 1_700_000_000_000  # of `make_listens`, a second apart


@pytest.fixture
def make_rig(kafka, make_topics, tmp_path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(guarantee: str, partitions: int = 4, **lane) -> Rig:
        topics = make_topics(user_partitions=partitions)
        prefix = topics.listens.name.removesuffix("listen-events.v1")
        rigs.append(Rig(kafka.kafka, topics, prefix, tmp_path, guarantee, session_ms=3_000, lane=lane))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


def client_of(rig: Rig) -> SidestreamClient:
    settings = TopicSettings(prefix=rig.prefix, user_partitions=rig.topics.listens.partitions)
    return SidestreamClient(rig.kafka, settings)


def living(rig: Rig) -> dict[bytes, bytes]:
    """The changelog without deleted keys."""
    return {key: value for key, value in rig.changelog().items() if value is not None}


def ask(rig: Rig, users: list[str], at: int) -> None:
    with client_of(rig) as client:
        for user in users:
            client.erase_user(user, at)


def wait_asked(rig: Rig, count: int) -> None:
    """Wait until a number of requests are committed."""
    topic = rig.topics.user_erasures.name
    wait_until(lambda: rig.committed_unharmed() >= 0 and rig.committed(topic) >= count, 40, f"{count} requests")


def lasting(states: dict[bytes, bytes]) -> dict[bytes, tuple]:
    """The parts that do not depend on the time of an erasure; a duplicate entry repeats a later listen."""
    words = {user: describe(state) for user, state in states.items() if user[:1] != KEY_MARK}
    return {
        user: ({(e["item_key"], e["at"], e["sid"]) for e in w["history"]}, w["watermarks"], w.get("erased_at"))
        for user, w in words.items()
    }


def expected(rig: Rig) -> dict[bytes, bytes]:
    """The pure fold of all listens after all requests."""
    states: dict[bytes, bytes] = {}
    for record in rig.read_all(rig.topics.user_erasures.name):
        erasure = decode_user_erasure(record.key, record.value, record.timestamp)
        states[record.key] = erase(states.get(record.key), erasure.at)
    for record in rig.read_all(rig.topics.listens.name):
        try:
            listen = decode_listen(record.key, record.value, record.timestamp)
        except BadRecord:
            continue
        states[record.key] = fold(states.get(record.key), [(record.offset, listen)], static_lookup).state
    return states


@pytest.mark.slow
@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_users_erased_under_load_are_gone_even_after_crashes(make_rig, guarantee):
    rig = make_rig(guarantee)
    gone, halfway = [f"user-{n}" for n in range(40)], [f"user-{n}" for n in range(40, 80)]
    rig.produce(make_listens(4_000, users=120, seed=31))
    fault = {"point": "written" if guarantee == "at_least_once" else "sent", "at": 6, "action": "kill"}
    worker = rig.start_worker(fault=fault)
    ask(rig, gone, FIRST_AT + 4_000_000)
    ask(rig, halfway, FIRST_AT + 2_000_000)
    assert worker.wait(40) == -signal.SIGKILL, rig.logs()
    worker = rig.start_worker()
    wait_asked(rig, 80)
    rig.wait_drained()
    # They come again: event ids that a state has no memory of, from before and after.
    rig.produce(make_listens(1_000, users=120, seed=32))
    rig.wait_drained()
    assert rig.stop(worker) == 0
    table = rig.table("a")
    found, wanted = lasting(table), lasting(expected(rig))
    # The ids of events go with an erasure, so that a repeat may be folded: only of what came after.
    for user in halfway:
        history, *others = found.pop(user.encode())
        wanted_history, *wanted_others = wanted.pop(user.encode())
        assert others == wanted_others
        assert history >= wanted_history
        assert all(at > FIRST_AT + 2_000_000 for _, at, _ in history)
    assert found == wanted
    assert living(rig) == table
    assert any(key.startswith(KEY_MARK) for key in table)
    assert not any(key.startswith(block_prefix(user.encode())) for key in table for user in gone)
    assert all(is_erased(table[user.encode()]) for user in gone)
    assert guarantee == "at_least_once" or not rig.replays()
    ask(rig, ["user-100"], FIRST_AT + 9_000_000)
    worker = rig.start_worker("b")
    wait_asked(rig, 81)
    assert rig.stop(worker) == 0
    assert rig.table("b") == living(rig)
    assert {u for u, state in rig.table("b").items() if state != table[u]} == {b"user-100"}


def haste(rig: Rig) -> None:
    """Have both topics of a user compacted immediately."""
    admin = rig.clients.admin()
    names = (rig.topics.user_state_changelog.name, rig.topics.user_erasures.name)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, HASTE) for name in names])
    admin.close()


def delete_listens(rig: Rig) -> None:
    """Delete all listens, as retention does."""
    topic = TopicPartition(rig.topics.listens.name, 0)
    consumer, admin = rig.clients.consumer(), rig.clients.admin()
    try:
        admin.delete_records({topic: consumer.end_offsets([topic])[topic]})
    finally:
        consumer.close()
        admin.close()


def values(rig: Rig, topic: str, user: bytes) -> list[bytes | None]:
    return [record.value for record in read_topic(rig.clients, topic) if record.key == user]


def wait_left(rig: Rig, count: int) -> None:
    """Wait until a number of records of u remain on both topics; other users' records close the segments."""
    names = (rig.topics.user_state_changelog.name, rig.topics.user_erasures.name)

    def left() -> bool:
        rig.produce(make_listens(1, users=1, seed=0))
        ask(rig, ["another"], FIRST_AT)
        return [len(values(rig, name, b"u")) for name in names] == [count, count]

    wait_until(left, 60, f"{count} records of u on each topic")


@pytest.mark.slow
@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_compaction_and_the_sweep_leave_nothing_of_a_user(make_rig, guarantee):
    rig = make_rig(guarantee, partitions=1, erasure_keep_days=0, erasure_sweep_s=0.2)
    haste(rig)
    secrets = [f"secret-{number}" for number in range(30)]
    listens = [{"event_id": x, "user_id": "u", "item_id": x, "at": FIRST_AT + n} for n, x in enumerate(secrets)]
    rig.produce([(b"u", json.dumps(listen).encode()) for listen in listens])
    worker = rig.start_worker()
    rig.wait_drained()
    ask(rig, ["u"], FIRST_AT + 30)
    wait_asked(rig, 1)
    wait_left(rig, 1)
    (left,) = values(rig, rig.topics.user_state_changelog.name, b"u")
    assert is_erased(left)
    whole = b"".join(record.value or b"" for record in read_topic(rig.clients, rig.topics.user_state_changelog.name))
    assert not any(item_key(secret).to_bytes(8, "little") in whole for secret in secrets)

    delete_listens(rig)
    wait_left(rig, 0)
    assert rig.stop(worker) == 0
    assert b"u" not in rig.table("a")


@pytest.mark.slow
def test_an_erased_listener_is_answered_as_an_unknown_one(kafka, make_topics, tmp_path):
    rig = SessionRig(kafka, make_topics(), tmp_path)
    try:
        for number in range(20):
            rig.item(f"i{number}")
        rig.listen("u", "i0", 2_000)
        rig.listen("v", "i0", 2_000)
        rig.flush()
        rig.start().ready(90)
        wait_until(lambda: rig.metric("sidestream_catalogue_items") == 20, 20, "items")
        wait_until(lambda: all(rig.get(f"/v1/users/{u}/state")[0] == 200 for u in "uv"), 20, "states")
        command = [
            sys.executable,
            "-m",
            "sidestream.streams.cli.main",
            "--set",
            f"topics.prefix={rig.flags['topics.prefix']}",
        ]
        command += ["--bootstrap", kafka.bootstrap, "state", "erase", "u", "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["topic"] == rig.topics.user_erasures.name
        wait_until(lambda: rig.metric('sidestream_erasures_total{outcome="erased"}') == 1, 20, "erasure")
        rig.listen("u", "i1", 3_000)
        rig.flush()
        wait_until(lambda: rig.metric('sidestream_listens_total{outcome="erased"}') == 1, 20, "late listen")
        rig.session("s1")
        rig.session("s2", user_id="v")
        rig.session("s3", user_id="nobody")
        rig.flush()
        erased, other, stranger = (rig.answer(name) for name in ("s1", "s2", "s3"))
        assert erased.fallback == stranger.fallback
        assert erased.candidates == stranger.candidates
        assert other.fallback is None
        assert rig.get("/v1/users/u/state")[1]["history"] == []
        rig.send(rig.topics.user_erasures, "u", b"{broken")
        rig.flush()
        (letter,) = rig.letters(rig.topics.user_erasures.name + ".dlq", 1)
        assert letter.value == b"{broken"
        assert rig.end() == 0
    finally:
        rig.close()


@pytest.mark.slow
def test_erasures_are_applied_again_to_refolded_states(make_rig):
    rig = make_rig("exactly_once")
    rig.produce(make_listens(1_000, users=20, seed=33))
    worker = rig.start_worker()
    ask(rig, ["user-3"], FIRST_AT + 9_000_000)
    wait_asked(rig, 1)
    rig.wait_drained()
    assert rig.stop(worker) == 0
    offline = OfflineStates(rig.clients, rig.topics, LANE, rig.prefix + "lane", rig.data_dir("a") / "user-state")
    asyncio.run(reset_states(offline, range(4), everything=True))
    assert living(rig) == {}
    worker = rig.start_worker()
    wait_asked(rig, 1)
    rig.wait_drained()
    assert rig.stop(worker) == 0
    table = rig.table("a")
    assert is_erased(table[b"user-3"])
    assert lasting(table) == lasting(expected(rig))


@pytest.mark.slow
def test_users_who_stopped_listening_are_removed_and_the_others_stay(make_rig):
    rig = make_rig("exactly_once", state_ttl_days=3 / 86_400, erasure_sweep_s=0.3)
    listens = [{"event_id": f"e{n}", "user_id": "u", "item_id": f"i{n}", "at": FIRST_AT + n} for n in range(200)]
    rig.produce([(b"u", json.dumps(listen).encode()) for listen in listens])
    worker = rig.start_worker()
    rig.wait_drained()
    assert b"u" in living(rig)
    with rig.listening(seed=34):
        wait_until(lambda: b"u" not in living(rig), 60, "u is removed")
    # They come again, as a stranger.
    rig.produce([(b"u", json.dumps({**listens[0], "event_id": "later"}).encode())])
    rig.wait_drained()
    worker.kill()
    worker.wait(10)
    left = living(rig)
    assert not any(key.startswith(block_prefix(b"u")) for key in left)
    assert len(describe(left[b"u"])["history"]) == 1
    assert any(user.startswith(b"user-") for user in left)
