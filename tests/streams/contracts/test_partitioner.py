"""The partition of a key: as other clients choose it, by one formula, and the same one by one and many at once."""

from pathlib import Path

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.contracts import partitioner
from sidestream.streams.contracts.many_keys import partitions_of
from sidestream.streams.contracts.partitioner import PARTITIONERS, partition_of
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics

ROOT = Path(__file__).parents[3]
KEYS = ("user-1", "user-2", "jürgen", "漢字", "a", "u42")


@pytest.mark.parametrize(("key", "partition"), list(zip(KEYS, (4, 0, 7, 1, 4, 7), strict=True)))
def test_the_default_gives_the_partitions_that_other_clients_choose(key, partition):
    """Of eight; kafkajs 2.2.4 and Java's producer come to the same."""
    assert partition_of(key.encode(), 8) == partition


@pytest.mark.parametrize("name", PARTITIONERS)
def test_the_page_for_producers_shows_where_keys_go(name):
    (row,) = [line for line in (ROOT / "deploy/README.md").read_text().splitlines() if line.startswith(f"| `{name}`")]
    assert row.endswith(" | " + ", ".join(f"`{key}` → {partition_of(key.encode(), 8, name)}" for key in KEYS) + " |")


@pytest.mark.parametrize(
    ("librdkafka", "name"),
    [
        ("consistent_random", "crc32"),
        ("consistent", "crc32"),
        ("murmur2_random", "murmur2"),
        ("murmur2", "murmur2"),
        ("fnv1a_random", "fnv1a"),
        ("fnv1a", "fnv1a"),
    ],
)
def test_librdkafka_chooses_the_same_partitions(librdkafka, name):
    """On its own mock cluster; keys of 1 to 80 bytes, also above 127, which are negative as signed characters."""
    keys = [key.encode() for key in KEYS] + [
        bytes((7 * length + at) % 256 for at in range(length)) for length in range(1, 81)
    ]
    got = {}
    options = {"test.mock.num.brokers": 1, "partitioner": librdkafka, "log_level": 0}
    producer = Producer(options)
    for key in keys:
        producer.produce(
            "topic",
            key=key,
            value=b"1",
            on_delivery=lambda error, record: got.update({record.key(): record.partition()}),
        )
    assert producer.flush(20) == 0
    count = len(producer.list_topics("topic", 5).topics["topic"].partitions)
    assert count > 1
    assert got == {key: partition_of(key, count, name) for key in keys}


@given(st.lists(st.binary(min_size=1, max_size=90), max_size=40), st.integers(1, 300), st.sampled_from(PARTITIONERS))
def test_many_keys_have_the_partitions_of_each(keys, count, name):
    assert partitions_of(keys, count, name).tolist() == [partition_of(key, count, name) for key in keys]


@pytest.mark.parametrize("name", PARTITIONERS)
def test_more_keys_than_one_step_takes_and_the_longest_of_a_user_keep_their_order(name):
    keys = [b"user-%d" % number for number in range(2_100)] + ["漢".encode() * 256, b"\xff" * 1024, b"end\0\0"]
    assert partitions_of(keys, 16, name).tolist() == [partition_of(key, 16, name) for key in keys]


def test_a_hash_of_the_least_number_has_a_partition():
    """Its absolute value is no 32-bit number: librdkafka and Sarama both take it as 2**31."""
    key = next(key for number in range(1 << 20) if partitioner.HASH_OF["fnv1a"](key := b"%d" % number) > 2**31 - 4_000)
    assert 0 <= partition_of(key, 7, "fnv1a") < 7


def test_topics_that_others_write_follow_the_setting_and_our_own_catalogue_keeps_its_partitions():
    topics = build_topics(TopicSettings(partitioner="crc32"))
    assert topics.item_sids.partitioner == "murmur2"
    written_by_others = (
        topics.listens,
        topics.session_starts,
        topics.user_erasures,
        topics.catalog_items,
        topics.live_segments,
    )
    for topic in (*written_by_others, topics.candidates, topics.user_state_changelog, topics.live_states):
        assert topic.partition_of(b"user-1") == partition_of(b"user-1", topic.partitions, "crc32")


def test_no_other_file_has_the_formula():
    owner = Path(partitioner.__file__).resolve()
    packages = ("streams", "models", "tokenizer", "tests/bench")
    files = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    formulas = ("import murmur2", "5BD1E995", "01000193", "811C9DC5")
    assert [path for path in files if path != owner and any(one in path.read_text() for one in formulas)] == []
