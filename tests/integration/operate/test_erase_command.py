"""`sidestream state erase` on a real Kafka: it waits until a user is gone, from wrong partitions too."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from sidestream.models.history import block_key, block_prefix, fold, is_erased
from sidestream.streams.cli.main import app
from sidestream.streams.contracts.decode import decode_listen
from sidestream.streams.contracts.partitioner import partition_of
from tests.integration.rigs.lane_rig import Rig, open_rig, wait_until
from tests.integration.rigs.lane_worker import static_lookup

pytestmark = pytest.mark.broker
FIRST_AT = 1_700_000_000_000


@pytest.fixture
def rig(kafka, make_topics, tmp_path) -> Iterator[Rig]:
    yield from open_rig(kafka, make_topics, tmp_path, guarantee="exactly_once", session_ms=3_000)


@pytest.fixture
def erase(rig: Rig, tmp_path) -> Callable:
    options = ["--bootstrap", rig.kafka.bootstrap, "--data-dir", str(tmp_path / "var")]
    for name, value in {
        "topics.prefix": rig.prefix,
        "topics.user_partitions": 4,
        "topics.item_partitions": 2,
        "worker.app_id": f"{rig.prefix}lane",
    }.items():
        options += ["--set", f"{name}={value}"]

    def run(*args: object):
        return CliRunner().invoke(app, [*options, "state", "erase", *map(str, args)])

    return run


def ready(rig: Rig) -> subprocess.Popen[bytes]:
    """Start a worker, and wait until it has folded a listen."""
    worker = rig.start_worker()
    rig.produce(listens(f"user-{rig.produced}", 1))
    rig.wait_drained()
    return worker


def listens(user: str, count: int) -> list[tuple[bytes, bytes]]:
    return [
        (
            user.encode(),
            json.dumps(
                {"event_id": f"{user}-{n}", "user_id": user, "item_id": f"i{n}", "at": FIRST_AT + 1_000 * n}
            ).encode(),
        )
        for n in range(count)
    ]


def stray(rig: Rig, user: str, partition: int) -> None:
    """Write a state into a changelog partition, as for the listens of a producer with another partitioner."""
    records = [(n, decode_listen(key, value, FIRST_AT)) for n, (key, value) in enumerate(listens(user, 90))]
    folded = fold(None, records, static_lookup, 64)
    values = {user.encode(): folded.state} | {block_key(user.encode(), n): x for n, x in folded.blocks.items()}
    producer = rig.clients.producer()
    for key, value in values.items():
        producer.send(rig.topics.user_state_changelog.name, key=key, value=value, partition=partition)
    producer.flush(10)
    producer.close()


def held(rig: Rig, user: str) -> set[int]:
    """Partitions of the changelog whose last values hold something of a user besides watermarks."""
    last = {}
    for record in rig.read_all(rig.topics.user_state_changelog.name):
        last[record.partition, record.key] = record.value
    key, prefix = user.encode(), block_prefix(user.encode())
    return {
        partition
        for (partition, name), value in last.items()
        if value is not None and ((name == key and not is_erased(value)) or (name or b"").startswith(prefix))
    }


@pytest.mark.slow
def test_it_returns_once_the_users_are_gone(rig, erase):
    worker = rig.start_worker()
    for user in ("u", "v", "w"):
        rig.produce(listens(user, 100))
    rig.wait_drained()
    done = erase("u", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    facts = json.loads(done.stdout)
    home = partition_of(b"u", 4)
    assert (facts["user_id"], facts["partition"], facts["found_in"], facts["misplaced_in"]) == ("u", home, [home], [])
    assert facts["done"] is True
    assert facts["topic"] == rig.topics.user_erasures.name
    assert held(rig, "u") == set()
    assert held(rig, "v") == {partition_of(b"v", 4)}
    assert "deleted 600 s after" in done.stderr
    # Several at once, one of them nobody; again; and without the search.
    done = erase("v", "nobody", "u", "v", "--no-search", "--json")
    assert done.exit_code == 0, done.output
    assert [(row["user_id"], row["done"]) for row in json.loads(done.stdout)] == [
        ("v", True),
        ("nobody", True),
        ("u", True),
    ]
    assert "were not searched" in done.stderr
    assert held(rig, "v") == set()
    assert held(rig, "w")
    assert rig.stop(worker) == 0


@pytest.mark.slow
def test_a_user_in_the_partition_of_another_partitioner_is_found_and_erased_there(rig, erase):
    home = partition_of(b"u", 4)
    other = (home + 1) % 4
    assert rig.stop(ready(rig)) == 0
    stray(rig, "u", other)
    worker = ready(rig)
    assert held(rig, "u") == {other}
    done = erase("u", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    facts = json.loads(done.stdout)
    assert (facts["found_in"], facts["misplaced_in"], facts["done"]) == ([other], [other], True)
    assert f"data lay in partition {other} too" in done.stderr
    assert held(rig, "u") == set()
    assert rig.stop(worker) == 0


@pytest.mark.slow
def test_without_a_worker_it_says_so_and_fails_but_the_request_is_stored(rig, erase):
    done = erase("u", "--timeout", 0.5, "--json")
    assert done.exit_code == 1
    facts = json.loads(done.stdout.splitlines()[0])
    assert facts["done"] is False
    assert "not confirmed after 0.5 s" in done.stderr
    assert "no worker runs; it is done once one does" in done.stderr
    assert json.loads(erase("u", "--no-wait", "--json").stdout)["offset"] > facts["offset"]
    worker = rig.start_worker()
    wait_until(lambda: rig.committed(rig.topics.user_erasures.name) >= 2, 40, "both requests")
    assert rig.stop(worker) == 0


def test_ids_that_no_user_can_have_are_refused(erase):
    done = erase("u", "", "--json")
    assert done.exit_code != 0
    assert "user_id" in str(done.exception)
