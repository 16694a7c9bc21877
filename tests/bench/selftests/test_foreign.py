"""The benchmark of foreign producers: its judge on made-up logs, and its smallest size on a real Kafka."""

import dataclasses
import json

import pytest

from sidestream.models.history import fold
from sidestream.streams.broker.embedded import EmbeddedBroker
from sidestream.streams.contracts.decode import Reason, decode_listen
from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from tests.bench.foreign.judge import HISTORY_EVENTS, Found, Judge, Place, Verdict, read_log
from tests.bench.foreign.kafkajs import SENDER
from tests.bench.foreign.records import (
    Record,
    Sent,
    hidden,
    huge_headers,
    listen,
    listens,
    odd_headers,
    other_clocks,
    unreadable_headers,
    wrong,
)
from tests.bench.support.smoke import last_line
from tests.integration.wire.odd_records import BAD_NAME

NOW_MS = 1_750_000_000_000
PARTITIONS = 4


@pytest.mark.slow
@pytest.mark.broker
def test_smallest_size_explains_every_record(kafka):
    line = last_line("foreign", "--bootstrap", kafka.bootstrap)
    checks = {check["name"]: check["value"] for check in line["checks"]}
    assert checks["folded_share"] == 1
    assert (checks["exits"], checks["unexplained"]) == (0, 0), line["results"]
    ends = line["results"]["murmur2, topics producer"]["ends"]
    assert ends["librdkafka"]["wrong_partition"] > 0, "the partitioners do not differ"
    assert ends["librdkafka-murmur2"].keys() >= {"folded", "absurd_time", "key_mismatch", "null_value"}
    assert set(ends["librdkafka-aborted"]) == set(ends["librdkafka-open"]) == {"hidden"}


def test_node_modules_are_pinned_without_an_address():
    lock = json.loads((SENDER / "package-lock.json").read_text())
    pins = json.loads((SENDER / "package.json").read_text())["dependencies"]
    assert {name: lock["packages"][f"node_modules/{name}"]["version"] for name in pins} == pins
    assert all("integrity" in package for path, package in lock["packages"].items() if path)
    assert "resolved" not in json.dumps(lock)


def test_every_record_of_a_run_is_unique_and_ends_as_it_says():
    records = [
        *listens("a", 3, 5, NOW_MS),
        *listens("b", 3, 5, NOW_MS),
        *wrong("a", NOW_MS),
        *wrong("b", NOW_MS),
        *odd_headers(NOW_MS),
        *huge_headers(NOW_MS),
        *unreadable_headers(NOW_MS),
        *other_clocks(NOW_MS),
    ]
    assert len({(record.key, record.value) for record in records}) == len(records)
    # Those that are unreadable are so by their headers, which a decoder does not see.
    seen = [record for record in records if record.reason != Reason.UNREADABLE]
    assert [decoded(record) for record in seen] == [record.reason for record in seen]


def decoded(record):
    """The reason for which a record is refused; none where it is a listen."""
    try:
        decode_listen(record.key, record.value, NOW_MS if record.stamp_ms is None else record.stamp_ms)
    except BadRecord as error:
        return error.reason
    return None


class Run:
    """A worker that did everything right, until a test changes what it left behind."""

    def __init__(self):
        bad = Record(b"bad", b"{bad", reason=Reason.NOT_JSON)
        self.sent = [Sent("good", [*listens("good", 2, 3, NOW_MS), bad], "murmur2")]
        self.sent.append(Sent("aborted", hidden(listens("aborted", 1, 2, NOW_MS)), "murmur2"))
        self.log, self.committed, self.letters, self.changelog = {}, {}, {}, {}
        of_user = {}
        for record in (record for one in self.sent for record in one.records):
            partition = partition_of(record.key, PARTITIONS)
            place = Place(partition, len(self.log))
            self.log[place] = Found(record.key, record.value, NOW_MS)
            if record.is_hidden:
                continue
            self.committed[place] = self.log[place]
            if record.reason is None:
                row = (place.offset, decode_listen(record.key, record.value, NOW_MS))
                of_user.setdefault(record.key, []).append(row)
            else:
                self.letters[place] = [(record.key, record.value, str(record.reason))]
        for user, rows in of_user.items():
            self.changelog[user] = fold(None, rows, lambda _: None, HISTORY_EVENTS).state

    def judge(self, **changes):
        judge = Judge("murmur2", PARTITIONS, self.log, self.committed, self.letters, self.changelog)
        return dataclasses.replace(judge, **changes).judge(self.sent)

    def place(self, key):
        return next(place for place, found in self.log.items() if found.key == key)


@pytest.fixture
def run():
    return Run()


def test_judge_explains_what_is_right(run):
    verdict = run.judge()
    assert (verdict.due, verdict.folded, verdict.unexplained) == (6, 6, 0), verdict.named
    assert verdict.counts == {"good": {"folded": 6, "not_json": 1}, "aborted": {"hidden": 2}}


def test_judge_finds_a_listen_that_is_not_folded(run):
    first = next(iter(run.changelog))
    verdict = run.judge(changelog={**run.changelog, first: b"other"})
    assert (verdict.folded, verdict.unexplained) == (3, 1)


def test_judge_finds_an_aborted_listen_that_is_folded(run):
    verdict = run.judge(changelog={**run.changelog, b"aborted/user-0": b"state"})
    assert (verdict.folded, verdict.unexplained) == (6, 1)


@pytest.mark.parametrize("letters", [0, 2])
def test_judge_finds_dead_letters_that_are_missing_or_there_twice(run, letters):
    place = run.place(b"bad")
    assert run.judge(letters={place: run.letters[place] * letters}).unexplained == 1


def test_judge_finds_a_dead_letter_with_another_reason_or_place(run):
    place = run.place(b"bad")
    assert run.judge(letters={place: [(b"bad", b"{bad", "oversize")]}).unexplained == 1
    assert run.judge(letters={**run.letters, Place(0, 99): run.letters[place]}).unexplained == 1


def test_judge_finds_records_that_are_not_there_or_that_nobody_sent(run):
    place = run.place(b"bad")
    without = {one: found for one, found in run.log.items() if one != place}
    assert run.judge(log=without, letters={}).unexplained == 1
    assert run.judge(log={**run.log, Place(0, 99): Found(b"x", b"y", NOW_MS)}).unexplained == 1


def test_judge_tells_a_wrong_partition_from_a_producer_that_is_not_what_it_says(run):
    user = next(
        u for n in range(99) if partition_of(u := b"u%d" % n, PARTITIONS) != partition_of(u, PARTITIONS, "crc32")
    )
    place = Place(partition_of(user, PARTITIONS, "crc32"), 99)
    found = Found(user, listen(user.decode(), 0, NOW_MS), NOW_MS)
    run.log[place] = run.committed[place] = found
    run.letters[place] = [(found.key, found.value, "wrong_partition")]
    run.sent.append(Sent("crc32", [Record(found.key, found.value)], "crc32"))
    assert run.judge().unexplained == 0
    run.sent[-1] = dataclasses.replace(run.sent[-1], partitioner="murmur2")
    assert run.judge().unexplained == 1


@pytest.mark.parametrize(("is_renamed", "ends"), [(False, ["unreadable"] * 2), (True, ["folded", "null_value"])])
def test_judge_knows_names_that_the_broker_has_made_readable(is_renamed, ends):
    records = unreadable_headers(NOW_MS)
    place = Place(partition_of(records[0].key, PARTITIONS), 0)
    sent, judge, verdict = Sent("other", records, "murmur2"), Judge("murmur2", PARTITIONS, {}, {}, {}, {}), Verdict()
    found = [Found(record.key, record.value, NOW_MS, is_renamed) for record in records]
    expected = [judge._expected(place, f, sent, r, verdict) for f, r in zip(found, records, strict=True)]
    assert expected == ends
    assert not verdict.unexplained


def test_log_with_header_names_that_are_no_text_is_read_to_its_end():
    topic = build_topics(TopicSettings(user_partitions=1)).listens
    # Many, since Python calls what it has called often in another way.
    headers = [[("fine", b"1")]] * 40 + [[("n\N{REPLACEMENT CHARACTER}", b"1")]] + [BAD_NAME] * 9
    with EmbeddedBroker() as broker:
        broker.create([topic])
        producer = Clients(KafkaSettings(bootstrap=broker.bootstrap, kind="embedded")).producer()
        for number, of_record in enumerate(headers):
            producer.send(topic.name, b"v", key=b"%d" % number, headers=of_record, partition=0)
        producer.close()
        log = read_log(broker.bootstrap, topic.name, 1, committed=False)
    assert len(log) == len(headers)
    assert [found.key for found in log.values() if found.is_renamed] == [b"40"]
