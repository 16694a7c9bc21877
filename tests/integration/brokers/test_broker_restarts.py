"""Brokers come and go under a whole worker: it survives, answers every session-start and folds every listen once."""

import itertools
import threading
import time

import pytest

from sidestream.streams.worker.watch.watchdog import ExitCode
from tests.integration.rigs.session_rig import Rig, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]
USERS, ITEMS = 20, 30
# Four JVMs and a worker start on as few as two cores.
START_S = 120.0
# Longer than the watchdog allows work to wait, which these tests shorten.
OUTAGE_S, NO_PROGRESS_S = 25.0, 15.0
SLOW_S = 5.0


@pytest.fixture
def rig(brokers, tmp_path):
    flags = {
        "kafka.session_timeout_ms": 10_000,
        "kafka.heartbeat_interval_ms": 3_000,
        "worker.watchdog.no_progress_s": NO_PROGRESS_S,
    }
    made = Rig(brokers, brokers.make_topics(), tmp_path, **flags)
    yield made
    made.close()


class Load:
    """100 listens, 5 session-starts and 5 items a second, from a thread, for the length of a block."""

    def __init__(self, rig, listens=True):
        self.rig, self.listens, self.sessions, self.items = rig, listens, [], set()
        self.num_listens = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._stop.set()
        self._thread.join()
        self.rig._producer.flush(120)

    def _send(self):
        began = time.monotonic()
        for number in itertools.count():
            if self._stop.wait(max(0.0, began + number / 100 - time.monotonic())):
                return
            if self.listens:
                self.rig.listen(f"u{number % USERS}", f"i{number % ITEMS}", number)
                self.num_listens += 1
            if number % 20 == 0:
                self.sessions.append(f"s{number}")
                self.rig.session(f"s{number}", f"u{number % USERS}")
            if number % 20 == 10:
                self.items.add(f"i{number % ITEMS}")
                self.rig.item(f"i{number % ITEMS}", title=f"Title {number}")


def require_all_done(rig, load):
    """Everything that was sent is answered, folded and tokenized, by the same process."""

    def all_answered():
        return not set(load.sessions) - {one.session_id for one in rig.all_sets()}

    if load.sessions:
        wait_until(all_answered, 60, "all session-starts answered")
    applied = 'sidestream_listens_total{outcome="applied"}'
    wait_until(lambda: rig.metric(applied) >= load.num_listens, 60, "all listens folded")
    assert rig.metric(applied) == load.num_listens, "a listen was folded twice"
    reader = rig.reader(rig.topics.item_sids.name)
    found: set[str] = set()

    def tokenized():
        for records in reader.poll(timeout_ms=200).values():
            found.update(record.key.decode() for record in records)
        return load.items <= found

    wait_until(tokenized, 60, "all items tokenized")
    reader.close()
    wait_until(lambda: rig.get("/readyz")[0] == 200, 30, f"ready again ({rig.get('/readyz')})")
    assert rig.process.poll() is None, rig.log.read_text()[-3_000:]
    assert rig.end() == 0
    assert "Traceback" not in rig.log.read_text()


def rolling_restart(brokers):
    brokers.rolling_restart()


def killed_in_turn(brokers):
    for number in (1, 2, 3):
        with brokers.without(number, kill=True):
            brokers.wait_led_without(number)
        brokers.wait_whole()


def leaders_moved(brokers):
    for seed in range(4):
        brokers.move_leaders(seed)


def coordinators_stopped(brokers):
    for topic in ("__consumer_offsets", "__transaction_state"):
        with brokers.without(brokers.leader_of(topic)):
            pass
        brokers.wait_whole()


def slow_answers(brokers):
    """Five of six seconds no node answers, as on a machine that swaps or whose disk is full of other work."""
    nodes = [brokers.node(number) for number in (1, 2, 3)]
    for _ in range(4):
        for node in nodes:
            node.pause()
        time.sleep(SLOW_S)
        for node in nodes:
            node.resume()
        time.sleep(1)
    brokers.wait_whole()


@pytest.mark.parametrize("fault", [rolling_restart, killed_in_turn, leaders_moved, coordinators_stopped, slow_answers])
def test_a_worker_outlives_changes_of_its_brokers(brokers, rig, fault):
    rig.start().ready(START_S)
    with Load(rig) as load:
        wait_until(lambda: load.num_listens > 200, what="load")
        fault(brokers)
        sent = load.num_listens
        wait_until(lambda: load.num_listens > sent + 200, what="load afterwards")
    require_all_done(rig, load)


def all_gone(brokers):
    for number in (1, 2, 3):
        brokers.node(number).kill()
    time.sleep(OUTAGE_S)
    brokers.start_all()
    brokers.wait_whole()


def one_paused(brokers):
    for number in (1, 2, 3):
        brokers.node(number).pause()
        time.sleep(OUTAGE_S / 2)
        brokers.node(number).resume()
        brokers.wait_whole()


@pytest.mark.parametrize("fault", [all_gone, one_paused])
@pytest.mark.parametrize("role", ["tokenize", "recommend"])
def test_an_outage_is_no_reason_to_end(brokers, rig, role, fault):
    """Longer than the watchdog allows work to wait: nobody waits for brokers that are away."""
    rig.flags["worker.role"] = role
    rig.start().ready(START_S)
    with Load(rig, listens=False) as load:
        wait_until(lambda: len(load.sessions) > 10, what="load")
        fault(brokers)
    if role == "tokenize":
        load.sessions = []
    else:
        load.items = set()
    require_all_done(rig, load)
    assert rig.log.read_text().count("Kafka is away, retrying") <= 12


def test_partitions_without_a_leader_are_no_waiting_work(brokers, rig):
    """With two of three nodes gone there is no majority: what was read goes on, and nothing ends."""
    rig.flags["worker.role"] = "tokenize"
    rig.start().ready(START_S)
    with Load(rig, listens=False) as load:
        wait_until(lambda: len(load.sessions) > 10, what="load")
        with brokers.without(2, kill=True), brokers.without(3, kill=True):
            wait_until(lambda: rig.get("/readyz")[0] == 503, 30, "not ready")
            time.sleep(OUTAGE_S)
            assert rig.process.poll() is None, rig.log.read_text()[-3_000:]
    load.sessions = []
    require_all_done(rig, load)


def test_partitions_without_a_leader_hold_up_no_others(brokers, rig):
    """The only replicas of one partition of users are on a node that is gone.

    It is stopped in order: Kafka gives no leader to a partition whose last replica was killed (KIP-966).
    """
    topics, lost = rig.topics, rig.partition_of("u0")
    # Its transaction in progress is open until it times out.
    del rig.flags["worker.watchdog.no_progress_s"]
    for topic in (topics.listens, topics.session_starts, topics.user_state_changelog, topics.candidates):
        brokers.place(topic.name, lost, [3])
    others = [user for user in (f"u{number}" for number in range(USERS)) if rig.partition_of(user) != lost]
    rig.start().ready()
    with Load(rig) as load:
        wait_until(lambda: load.num_listens > 200, what="load")
        wait_until(rig.sets, what="answers")  # a reader finds its positions only where there are leaders
        with brokers.without(3):
            wait_until(lambda: brokers.leaders()[topics.listens.name, lost] == -1, 60, "no leader")
            until = time.monotonic() + OUTAGE_S
            for number in itertools.count():
                if time.monotonic() > until:
                    break
                user = others[number % len(others)]
                rig.session(f"alive{number}", user)
                rig.answer(f"alive{number}")
                assert rig.get(f"/v1/users/{user}/state")[0] == 200
            assert rig.process.poll() is None, rig.log.read_text()[-3_000:]
    require_all_done(rig, load)


def test_a_static_member_gets_its_partitions_back_without_a_rebalance_of_the_others(brokers, tmp_path):
    topics = brokers.make_topics("static-")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    common = {"kafka.session_timeout_ms": 25_000, "kafka.heartbeat_interval_ms": 1_000}
    first = Rig(brokers, topics, tmp_path / "a", **common, **{"worker.group_instance_id": "w1"})
    second = Rig(brokers, topics, tmp_path / "b", **common, **{"worker.group_instance_id": "w2"})
    try:
        first.start().ready(START_S)
        second.start().ready(START_S)
        wait_until(lambda: first.get("/readyz")[0] == 200, 60, "both ready")
        owners = ownership(first, second)
        assert set(owners.values()) == {"first", "second"}
        restores = first.log.read_text().count("user states restored")
        assert second.end() == 0
        second.start().ready(START_S)
        assert ownership(first, second) == owners
        assert first.log.read_text().count("user states restored") == restores
        assert first.get("/readyz")[0] == 200
        third = Rig(brokers, topics, tmp_path / "a", **common, **{"worker.group_instance_id": "w2"})
        third.flags["data_dir"] = str(tmp_path / "c")
        third.log = tmp_path / "third.log"
        try:
            third.start()
            assert second.process.wait(60) == ExitCode.CRASHED
            last = second.log.read_text().strip().splitlines()[-1]
            assert "worker.group_instance_id 'w2'" in last, last
            assert "give each worker an id of its own" in last
        finally:
            third.close()
    finally:
        first.close()
        second.close()


def ownership(first, second):
    """Which worker has the states of the users that fall into each partition."""
    found = {}
    for number in range(60):
        user = f"u{number}"
        partition = first.partition_of(user)
        for name, rig in (("first", first), ("second", second)):
            status, _ = rig.get(f"/v1/users/{user}/state")
            if status in (200, 404):
                found[partition] = name
    return found
