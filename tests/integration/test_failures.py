"""The failure table: whatever breaks, a worker recovers or ends with its code within its limit, and says why.

Every row runs with short limits and, with `slow`, with the limits that are the default; the longer rows are `slow`
alone. Kafkas come before rigs in the arguments, so that a test's clients are closed before their Kafka ends.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from rocksdict import Options, Rdict
from session_rig import SCRIPT, Rig, wait_until

from streams.worker.watchdog import ExitCode

pytestmark = pytest.mark.broker
FAULTY = SCRIPT.with_name("faulty_worker.py")
# From the end of a limit to the end of the process, on a busy machine.
MARGIN_S = 5.0


@dataclass(frozen=True)
class Limits:
    """Limits of the watchdog in seconds, and the flags that set them."""

    session: float = 10.0
    shutdown: float = 15.0
    loop_blocked: float = 20.0
    no_progress: float = 30.0

    def flags(self):
        return {
            "kafka.session_timeout_ms": int(self.session * 1e3),
            "worker.watchdog.shutdown_s": self.shutdown,
            "worker.watchdog.loop_blocked_s": self.loop_blocked,
            "worker.watchdog.no_progress_s": self.no_progress,
        }


SHORT = Limits(session=3.0, shutdown=5.0, loop_blocked=3.0, no_progress=8.0)


@pytest.fixture(params=[SHORT, pytest.param(Limits(), marks=pytest.mark.slow)], ids=["short", "default"])
def limits(request):
    return request.param


@pytest.fixture
def make_rig(tmp_path, limits):
    rigs = []

    def make(broker, topics, **flags):
        folder = tmp_path / f"rig{len(rigs)}"
        folder.mkdir()
        rig = Rig(broker, topics, folder, **{**limits.flags(), **flags})
        rig.script = FAULTY
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig, kafka, make_topics):
    return lambda **flags: make_rig(kafka, make_topics(), **flags)


def ready_with_items(loop):
    for number in range(5):
        loop.item(f"i{number}")
    loop.listen("u", "i0", 2_000)
    loop.flush()
    loop.start().ready()
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 5, what="items")
    # Counted when durable; the state itself is shown before.
    wait_until(lambda: loop.metric('sidestream_listens_total{outcome="applied"}') == 1, what="the first listen")
    return loop


def listens_at_work(loop, limit_s=40.0):
    """Make a backlog and wait until it is being worked on."""
    for number in range(40_000):
        loop.listen(f"u{number % 2_000}", f"i{number % 5}", 10_000 + number)
    loop.flush()
    loop.start()
    wait_until(lambda: loop.metric('sidestream_listens_total{outcome="applied"}') > 0, limit_s, "the first listens")


def ended(loop, timeout_s):
    """Wait for the end; give exit code, seconds and the last line that it said."""
    began = time.monotonic()
    code = loop.process.wait(timeout_s)
    return code, time.monotonic() - began, loop.log.read_text().strip().splitlines()[-1]


def state_size(loop, user="u"):
    status, state = loop.get(f"/v1/users/{user}/state")
    return len(state["history"]) if status == 200 else -1


@pytest.mark.slow
def test_broker_gone_with_work_waiting(mortal_kafka, make_rig, limits, failure):
    loop = make_rig(
        mortal_kafka, mortal_kafka.make_topics(), **{"lane.max_batch_records": 20, "lane.fetch_bytes": 4096}
    )
    listens_at_work(loop)
    loop.close_clients()  # kafka-python leaves sockets behind when its Kafka dies
    mortal_kafka.kill()
    code, seconds, last = ended(loop, limits.no_progress + 30)
    assert code in (ExitCode.NO_PROGRESS, ExitCode.CRASHED), last
    assert loop.topics.listens.name in last or loop.topics.user_state_changelog.name in last
    failure("broker gone, work waiting", f"exit {code}", seconds, limits.no_progress + MARGIN_S)


@pytest.mark.slow
def test_broker_gone_without_work_and_back(mortal_kafka, make_rig, limits, failure):
    loop = ready_with_items(make_rig(mortal_kafka, mortal_kafka.make_topics()))
    loop.close_clients()  # kafka-python leaves sockets behind when its Kafka dies
    mortal_kafka.kill()
    killed = time.monotonic()
    wait_until(lambda: any("no answer" in why for why in loop.get("/readyz")[1]["reasons"]), 15, "/readyz says so")
    failure("broker gone, no work: /readyz says so", "not ready", time.monotonic() - killed, 10.0)
    while time.monotonic() < killed + limits.no_progress + limits.session + MARGIN_S:
        assert loop.process.poll() is None, loop.log.read_text()[-2_000:]
        assert loop.get("/livez")[1]["reasons"] == []
        time.sleep(0.5)
    mortal_kafka.restart()
    began = time.monotonic()
    loop.ready(60)
    loop.session("after")
    loop.answer("after", 30)
    failure("broker back after a long absence", "recovered", time.monotonic() - began, 35.0)
    assert loop.end() == 0


def test_broker_gone_then_sigterm(mortal_kafka, make_rig, limits, failure):
    loop = ready_with_items(make_rig(mortal_kafka, mortal_kafka.make_topics()))
    loop.close_clients()  # kafka-python leaves sockets behind when its Kafka dies
    mortal_kafka.kill()
    wait_until(lambda: loop.get("/readyz")[0] == 503, 15, "/readyz says so")
    loop.process.send_signal(signal.SIGTERM)
    code, seconds, last = ended(loop, limits.shutdown + 30)
    assert code in (ExitCode.OK, ExitCode.SHUTDOWN_TOO_LONG), last
    failure("broker gone, then SIGTERM", f"exit {code}", seconds, limits.shutdown + MARGIN_S)


@pytest.mark.slow
def test_sigterm_under_load(rig, limits, failure):
    loop = rig()
    listens_at_work(loop)
    loop.process.send_signal(signal.SIGTERM)
    code, seconds, last = ended(loop, limits.shutdown + 30)
    assert code == ExitCode.OK, last
    failure("SIGTERM under load", "exit 0", seconds, 10.0)


@pytest.mark.parametrize("lane", ["listen", "session"])
def test_handler_raises(rig, limits, failure, lane):
    loop = ready_with_items(rig())
    topic = loop.topics.listens if lane == "listen" else loop.topics.session_starts
    loop.send(topic, "raise", {"user_id": "raise"}).get(10)
    code, seconds, last = ended(loop, 60)
    assert code == ExitCode.CRASHED
    assert "RuntimeError('the handler\\\\nraised')" in last
    failure(f"{lane} handler raises", "exit 70", seconds, limits.shutdown + MARGIN_S)


def test_loop_blocked(rig, limits, failure):
    loop = ready_with_items(rig())
    loop.send(loop.topics.listens, "block", {"user_id": "block"}).get(10)
    code, seconds, last = ended(loop, limits.loop_blocked + 30)
    assert code == ExitCode.LOOP_BLOCKED, last
    assert "wrapped (faulty_worker.py:" in last
    failure("event loop blocked", "exit 72", seconds, limits.loop_blocked + MARGIN_S)


@pytest.mark.slow
def test_process_paused_past_its_session_while_another_takes_over(make_rig, kafka, make_topics, limits, failure):
    topics = make_topics()
    first = ready_with_items(make_rig(kafka, topics))
    first.process.send_signal(signal.SIGSTOP)
    try:
        second = make_rig(kafka, topics)
        second.start().ready(limits.session + 30)
        for number in range(10):
            second.listen("u", f"i{number % 5}", 3_000 + number)
        second.flush()
        wait_until(lambda: state_size(second) == 11, what="the survivor folds")
    finally:
        first.process.send_signal(signal.SIGCONT)
    began = time.monotonic()
    for number in range(10):
        second.listen("u", f"i{number % 5}", 5_000 + number)
    second.flush()

    def settled():
        alive = [loop for loop in (first, second) if loop.process.poll() is None]
        if first in alive and first.get("/readyz")[0] != 200:
            return False
        return sorted(state_size(loop) for loop in alive) == [-1, 21][2 - len(alive) :]

    wait_until(settled, limits.no_progress + 10, "one owner, each listen folded once")
    outcome = "recovered" if first.process.poll() is None else f"exit {first.process.returncode}"
    assert outcome in ("recovered", "exit 70"), first.log.read_text()[-2_000:]
    failure("paused past its session, replaced meanwhile", outcome, time.monotonic() - began, 20.0)


@pytest.mark.slow
def test_changelog_topic_deleted(rig, limits, failure):
    loop = ready_with_items(rig())
    admin = loop.clients.admin()
    admin.delete_topics([loop.topics.user_state_changelog.name])
    admin.close()
    loop.listen("u", "i1", 3_000)
    loop.flush()
    code, seconds, last = ended(loop, limits.no_progress + 30)
    assert code in (ExitCode.NO_PROGRESS, ExitCode.CRASHED), last
    failure("changelog topic deleted", f"exit {code}", seconds, limits.no_progress + MARGIN_S)
    code, seconds, last = (loop.start() and None) or ended(loop, 60)
    assert code == ExitCode.NOT_STARTED
    assert loop.topics.user_state_changelog.name in last
    failure("changelog topic missing at the start", "exit 1", seconds, 20.0)


def databases(loop):
    return sorted(Path(loop.flags["data_dir"]).rglob("*.db"))


def scramble(file, first=0, last=None):
    """Overwrite a part of a file in place, as a failing disk does."""
    content = file.read_bytes()[first:last]
    with file.open("r+b") as open_file:
        open_file.seek(first)
        open_file.write(os.urandom(len(content)))


def restarted_with_tables_on_disk(loop, users):
    """End and start the worker: what the write-ahead log holds goes to table files when a database is opened."""
    for number in range(users):
        loop.listen(f"u{number}", f"i{number % 5}", 3_000 + number)
    loop.flush()
    wait_until(lambda: loop.metric('sidestream_listens_total{outcome="applied"}') == users + 1, what="all listens")
    assert loop.end() == 0
    return loop.start().ready()


def recovers(loop, failure, what):
    """Start the worker; it must come back with all states, and say which tables it rebuilt."""
    loop.start()
    wait_until(lambda: loop.get("/readyz")[0] != 0, 60, "the new process")
    began = time.monotonic()
    loop.ready(60)
    failure(what, "recovered", time.monotonic() - began, 20.0)
    assert "the next worker that opens it rebuilds it from the changelog: this one, now" in loop.log.read_text()
    wait_until(lambda: state_size(loop) == 1, what="the state is there")
    loop.listen("u", "i1", 300_000)
    loop.flush()
    wait_until(lambda: state_size(loop) == 2, what="the next listen is folded")


@pytest.mark.parametrize("how", ["manifest", "tables"])
def test_corrupt_database(rig, limits, failure, how):
    loop = restarted_with_tables_on_disk(ready_with_items(rig()), users=20)
    assert loop.end() == 0
    for database in databases(loop):
        files = [database / "CURRENT"] if how == "manifest" else [*database.glob("*.sst"), *database.glob("*.log")]
        for file in files:
            scramble(file)
    recovers(loop, failure, f"corrupt RocksDB ({how})")
    assert loop.metric('sidestream_rebuilt_tables_total{reason="damaged"}') == len(databases(loop))
    assert state_size(loop, "u19") == 1


def test_database_corrupted_while_it_is_open(rig, limits, failure):
    # Many users: the block that holds the positions was read at the opening, and stays in the cache.
    loop = restarted_with_tables_on_disk(ready_with_items(rig()), users=600)
    for database in databases(loop):
        for file in database.glob("*.sst"):
            size = file.stat().st_size
            scramble(file, size // 3, size // 2)
    began = time.monotonic()
    for number in range(600):
        if loop.get(f"/v1/users/u{number}/state")[0] != 200:
            break
    code, _, last = ended(loop, 60)
    assert code == ExitCode.CRASHED, last
    assert "damaged (Corruption: " in last
    failure("corrupt RocksDB, read at run time", "exit 70", time.monotonic() - began, limits.shutdown + MARGIN_S)
    recovers(loop, failure, "corrupt RocksDB, the start after")
    assert loop.metric('sidestream_rebuilt_tables_total{reason="damaged"}') >= 1
    for number in range(0, 600, 60):
        assert state_size(loop, f"u{number}") == 1


def fill_changelog(loop, count):
    """Publish states that nobody can compress; give them."""
    states = {f"filler{number}": os.urandom(1_400) for number in range(count)}
    for key, value in states.items():
        loop.send(loop.topics.user_state_changelog, key, value)
    loop.flush()
    return states


def restoring(loop):
    return [why for why in loop.get("/readyz")[1]["reasons"] if why.startswith("restoring partition ") and ":" in why]


@pytest.mark.slow
def test_killed_in_the_middle_of_a_restore(rig, limits, failure):
    loop = ready_with_items(rig())
    assert loop.end() == 0
    states = fill_changelog(loop, 30_000)
    loop.start()
    wait_until(lambda: loop.get("/readyz")[0] != 0, 60, "the new process")
    reason = wait_until(lambda: restoring(loop), 30, "/readyz says how far it is")[0]
    loop.end(signal.SIGKILL)
    assert re.fullmatch(r"restoring partition \d+: [\d,]+ of [\d,]+(, [\d,]+ s left)?", reason)
    began = time.monotonic()
    loop.start().ready(60)
    failure("SIGKILL in the middle of a restore", "recovered", time.monotonic() - began, 30.0)
    assert state_size(loop) == 1
    assert loop.end() == 0
    held = {}
    for database in databases(loop):
        table = Rdict(str(database), Options(raw_mode=True))
        held |= dict(table.items())
        table.close()
    assert {key: held.get(key.encode()) for key in states} == states


def test_poison_batch(rig, limits, failure):
    loop = ready_with_items(rig())
    for number in range(5_000):
        loop.send(loop.topics.listens, f"u{number}", b"{broken")
    for number in range(500):
        loop.send(loop.topics.session_starts, f"u{number}", b"{broken")
    loop.flush()
    began = time.monotonic()
    loop.listen("u", "i1", 3_000)
    loop.session("good")
    loop.flush()
    wait_until(lambda: state_size(loop) == 2, 30, "the good listen behind them")
    loop.answer("good", 30)
    failure("poison batch: 5,000 listens, 500 sessions", "recovered", time.monotonic() - began, 30.0)
    assert len(loop.letters(loop.topics.listens.name + ".dlq", 5_000)) == 5_000
    assert len(loop.letters(loop.topics.session_starts.name + ".dlq", 500)) == 500
    assert loop.end() == 0


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be filled here: mount is not permitted ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_disk_full(rig, small_disk, limits, failure):
    loop = ready_with_items(rig(data_dir=str(small_disk / "data")))
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4_096)
    for number in range(5_000):
        loop.listen(f"u{number}", f"i{number % 5}", 10_000 + number)
    loop.flush()
    code, seconds, last = ended(loop, limits.no_progress + 30)
    assert code == ExitCode.CRASHED, last
    assert "No space left" in last
    failure("disk full", "exit 70", seconds, limits.shutdown + MARGIN_S)
    filler.unlink()
    began = time.monotonic()
    loop.start().ready(60)
    wait_until(lambda: state_size(loop, "u4999") == 1, 30, "every listen is folded")
    failure("disk no longer full", "recovered", time.monotonic() - began, 30.0)
    assert loop.end() == 0


@pytest.mark.slow
def test_disk_full_while_restoring(rig, small_disk, limits, failure):
    loop = ready_with_items(rig(data_dir=str(small_disk / "data")))
    assert loop.end() == 0
    fill_changelog(loop, 40_000)  # 56 MB, of which the disk holds a half
    began = time.monotonic()
    code, _, last = (loop.start() and None) or ended(loop, limits.no_progress + 30)
    assert code == ExitCode.CRASHED, last
    assert "No space left" in last
    failure("disk full while restoring", "exit 70", time.monotonic() - began, limits.shutdown + MARGIN_S + 10)
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
    began = time.monotonic()
    loop.start().ready(60)
    failure("disk no longer full, restore goes on", "recovered", time.monotonic() - began, 30.0)
    assert state_size(loop) == 1
    assert loop.end() == 0
