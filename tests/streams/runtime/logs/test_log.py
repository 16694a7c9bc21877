import io
import json
import logging

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import NotEnoughReplicasError, RequestTimedOutError

from sidestream.streams.errors import TopicError
from sidestream.streams.runtime.logs.filters import RetryFilter
from sidestream.streams.runtime.logs.log import RepeatFilter, get_log, set_up_logging
from sidestream.streams.runtime.logs.settings import LogSettings


@pytest.fixture(autouse=True)
def _restored_logging():
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**configured)


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_are_json_without_a_terminal():
    stream = io.StringIO()
    set_up_logging(LogSettings(), stream)
    get_log("here").info("catalogue caught up", items=3)
    logging.getLogger("elsewhere").warning("plain %s", "words")
    first, second = lines(stream)
    assert (first["event"], first["items"], first["level"], first["logger"]) == (
        "catalogue caught up",
        3,
        "info",
        "here",
    )
    assert second["event"] == "plain words"


def test_libraries_stay_quiet():
    stream = io.StringIO()
    set_up_logging(LogSettings(level="debug"), stream)
    logging.getLogger("aiokafka.consumer").info("chatter")
    get_log("here").debug("ours")
    assert [line["event"] for line in lines(stream)] == ["ours"]


def test_only_foreign_errors_are_logged_with_a_traceback():
    stream = io.StringIO()
    set_up_logging(LogSettings(), stream)
    for error in (TopicError("say what to do"), ValueError("defect")):
        try:
            raise error
        except (TopicError, ValueError):
            logging.getLogger("x").exception("failed")
    ours, other = lines(stream)
    assert "exception" not in ours
    assert "ValueError: defect" in other["exception"]


def test_text_tracebacks_show_no_local_variables():
    stream = io.StringIO()
    set_up_logging(LogSettings(format="text"), stream)

    def connect(password):
        raise ValueError("defect")

    try:
        connect("hu" + "sh")
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert "ValueError: defect" in stream.getvalue()
    assert "hush" not in stream.getvalue()


def test_fausts_line_about_our_own_error_is_dropped():
    stream = io.StringIO()
    set_up_logging(LogSettings(), stream)
    for error in (TopicError("say what to do"), ValueError("defect")):
        try:
            raise error
        except (TopicError, ValueError):
            logging.getLogger("faust.worker").exception("Error")
    (line,) = lines(stream)
    assert "ValueError: defect" in line["exception"]


def test_repeated_library_lines_are_logged_once_per_interval():
    now_s = [0.0]
    once = RepeatFilter(10.0, seconds=lambda: now_s[0])

    def record(name, lineno, text, exc_info=None):
        return logging.LogRecord(name, logging.ERROR, "f.py", lineno, text, ("x",), exc_info)

    assert once.filter(record("aiokafka.conn", 1, "no node %s"))
    assert not any(once.filter(record("aiokafka.conn", 1, "no node %s")) for _ in range(99))
    assert once.filter(record("aiokafka.conn", 2, "another place %s"))
    assert once.filter(record("aiokafka.conn", 1, "failed %s", (ValueError, ValueError(), None)))
    assert all(once.filter(record("sidestream.streams.listens", 1, "ours %s")) for _ in range(3))
    now_s[0] = 10.0
    later = record("aiokafka.conn", 1, "no node %s")
    assert once.filter(later)
    assert later.getMessage() == "no node x (and 99 more like it before)"


NOT_ENOUGH = "Got error produce response on topic-partition %s, retrying. Error: %r"


def retried(text=NOT_ENOUGH, name="aiokafka.producer.sender", line=1, partition=0, error=NotEnoughReplicasError):
    args = (TopicPartition("t", partition), error)
    return logging.LogRecord(name, logging.WARNING, "f.py", line, text, args, None)


def test_retried_failures_are_logged_only_when_they_last():
    now_s = [0.0]
    patient = RetryFilter(5.0, seconds=lambda: now_s[0])
    for tenth in range(50):
        now_s[0] = tenth / 10
        assert not patient.filter(retried())
    now_s[0] = 5.0
    assert patient.filter(retried())
    now_s[0] = 60.0
    assert not patient.filter(retried()), "another trouble"
    coordinator = "Group Coordinator Request failed: %s %s"
    assert not patient.filter(retried(coordinator, "aiokafka.consumer.group_coordinator"))


def test_short_failures_of_several_partitions_are_not_one_that_lasts():
    now_s = [0.0]
    patient = RetryFilter(5.0, seconds=lambda: now_s[0])
    for second in range(20):
        now_s[0] = float(second)
        assert not patient.filter(retried(partition=second))
    assert not patient.filter(retried(partition=0)), "the first partition again, 19 s later"


def test_short_failures_of_a_busy_producer_are_not_one_that_lasts():
    now_s = [0.0]
    patient, heartbeat = RetryFilter(5.0, seconds=lambda: now_s[0]), "Heartbeat failed, will retry: %s %s"
    told = []
    for second in range(0, 20, 2):
        now_s[0] = float(second)
        assert not patient.filter(retried())
        told.append(patient.filter(retried(heartbeat, "aiokafka.consumer.group_coordinator")))
    assert told == [False] * 3 + [True] * 7


def test_a_commit_in_a_rebalance_is_retried():
    patient = RetryFilter(5.0, seconds=lambda: 0.0)
    said = "OffsetCommit failed for group %s due to group error (%s), will rejoin"
    assert not patient.filter(retried(said, "aiokafka.consumer.group_coordinator"))


def test_a_request_that_timed_out_has_lasted():
    patient = RetryFilter(5.0, seconds=lambda: 0.0)
    assert patient.filter(retried(error=RequestTimedOutError))


def test_a_rebalance_is_no_warning():
    stream = io.StringIO()
    set_up_logging(LogSettings(), stream)
    log = logging.getLogger("aiokafka.consumer.group_coordinator")
    log.warning("Heartbeat failed for group %s because it is rebalancing", "sidestream")
    log.warning("Heartbeat failed for group %s: generation id is not  current.", "sidestream")
    (line,) = lines(stream)
    assert "generation" in line["event"]


def test_other_lines_are_logged_at_once():
    patient = RetryFilter(5.0, seconds=lambda: 0.0)
    assert patient.filter(retried("Unable connect to node %s: %s"))
    assert patient.filter(retried(name="sidestream.streams.listens"))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("on TopicPartition(topic='a.v1', partition=3), retry", "on a.v1/3, retry"),
        ("Error: <class 'aiokafka.errors.NotEnoughReplicasError'>", "Error: NotEnoughReplicasError"),
        ("<AIOKafkaConnection host=127.0.0.1 port=9092> closed", "127.0.0.1:9092 closed"),
        ("[^---Consumer]: slow", "Consumer: slow"),
        ("<Service: running > and <kafka.Client object at 0x7f12ab>", "Service and Client"),
    ],
)
def test_object_reprs_in_library_lines_become_names(said, expected):
    stream = io.StringIO()
    set_up_logging(LogSettings(), stream)
    logging.getLogger("aiokafka.consumer").warning("%s", said)
    assert lines(stream)[0]["event"] == expected
    logging.getLogger("ours").warning("%s", said)
    assert lines(stream)[1]["event"] == said


def test_lines_of_a_library_s_service_under_our_name_are_the_library_s():
    """Faust's consumer, of which ours is a subclass, logs through a logger named after our module."""
    stream = io.StringIO()
    set_up_logging(LogSettings(), stream)
    logging.getLogger("sidestream.streams.group.transport").warning("[^--_Consumer]: closed by %s", "<A: running >")
    assert lines(stream)[0]["event"] == "Consumer: closed by A"
