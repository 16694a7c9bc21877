"""Faust, mode and aiokafka are still the ones that the lanes were built for; a failure says what to check again."""

import importlib.metadata
import inspect

import aiokafka
import faust
import kafka.consumer.fetcher
import pytest
from aiokafka.consumer import fetcher
from aiokafka.producer import sender
from faust.transport.drivers import aiokafka as driver

from sidestream.streams.group.faust_app import AIOKAFKA_VERSION, FAUST_VERSION
from tests.streams.group.faust_pins import PINS, digest_of

VERSIONS = {
    "faust-streaming": "0.15.3",
    "aiokafka": "0.14.0",
    "mode-streaming": "0.7.1",
    "kafka-python": "3.0.12",
}


def check(target: str, digest: str, role: str, users: str) -> None:
    try:
        found = digest_of(target)
    except (AttributeError, ImportError, OSError) as exc:
        found = f"nothing ({exc!r})"
    if found != digest:
        pytest.fail(
            f"{target}: expected source {digest}, got {found}. We rely on it: {role}. Read the new source, re-check "
            f"streams.{users.replace(', ', ', streams.')}, run tests/integration and the crash tests, and only then "
            "put the new digest into tests/streams/group/faust_pins.py",
            pytrace=False,
        )


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: pin.target)
def test_internals_are_unchanged(pin):
    check(pin.target, pin.digest, pin.role, pin.users)


@pytest.mark.parametrize("target", ["faust.app.base:App.on_stop", "faust.app.base:App.gone"])
def test_a_changed_or_missing_internal_fails_and_says_what_to_check(target):
    with pytest.raises(pytest.fail.Exception, match=r"expected source 0{12}, got .* re-check streams\.x, streams\.y"):
        check(target, "0" * 12, "a role", "x, y")


def test_the_versions_are_the_tested_ones():
    found = {name: importlib.metadata.version(name) for name in VERSIONS}
    assert found == VERSIONS, "read the changelogs, then go through every pin of faust_pins.py"
    assert (faust.__version__, aiokafka.__version__[:5]) == (FAUST_VERSION, AIOKAFKA_VERSION)


def test_constants_and_attributes_we_read_or_set_exist():
    # The value in the source: clients created by other tests have already changed the constant.
    written = inspect.getsource(sender)
    assert "\nBACKOFF_OVERRIDE = 0.02" in written, "the pause between transactions; see the transactional writer"
    for name in ("_fetch_max_wait_ms", "_isolation_level", "_client_rack"):
        assert f"self.{name} = " in inspect.getsource(aiokafka.AIOKafkaConsumer.__init__), f"{name}: lane.transport"
    for name in ("MemoryRecords", "PartitionRecords"):
        assert f" = {name}(" in inspect.getsource(fetcher.Fetcher), f"{name}: kafka.records.aiokafka_records"
    assert " = self.PartitionRecords(" in inspect.getsource(kafka.consumer.fetcher.Fetcher), "kafka_python_records"
    source = inspect.getsource(driver.AIOKafkaConsumerThread._create_worker_consumer)
    assert "fetch_max_wait_ms=1500" in source, "Faust's own wait, which lane.transport replaces"


def test_overridden_and_called_internals_take_the_same_arguments():
    for owner, name, arguments in (
        (driver.Consumer, "_filter_committable_offsets", ["self", "tps"]),
        (driver.Consumer, "_should_commit", ["self", "tp", "offset"]),
        (driver.Consumer, "_getmany", ["self", "active_partitions", "timeout"]),
        (driver.Consumer, "on_partitions_revoked", ["self", "revoked"]),
        (driver.Consumer, "on_partitions_assigned", ["self", "assigned", "generation_id"]),
        (driver.Consumer, "_new_consumer_thread", ["self"]),
        (driver.Consumer, "verify_event_path", ["self", "now", "tp"]),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer", ["self", "transport"]),
        (driver.AIOKafkaConsumerThread, "_ensure_consumer", ["self"]),
        (driver.AIOKafkaConsumerThread, "call_thread", ["self", "fun", "args", "kwargs"]),
        (driver.ConsumerRebalanceListener, "on_partitions_assigned", ["self", "assigned"]),
        (driver.Producer, "_settings_extra", ["self"]),
        (aiokafka.AIOKafkaConsumer, "pause", ["self", "partitions"]),
        (aiokafka.AIOKafkaConsumer, "committed", ["self", "partition"]),
        (aiokafka.AIOKafkaConsumer, "position", ["self", "partition"]),
        (aiokafka.AIOKafkaConsumer, "end_offsets", ["self", "partitions"]),
        (aiokafka.AIOKafkaProducer, "send_batch", ["self", "batch", "topic", "partition"]),
        (aiokafka.AIOKafkaProducer, "send_offsets_to_transaction", ["self", "offsets", "group_id"]),
    ):
        found = list(inspect.signature(getattr(owner, name)).parameters)
        assert found == arguments, f"{owner.__name__}.{name}: re-check streams/group/transport.py and its callers"
