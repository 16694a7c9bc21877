"""States of other releases in the changelog: older ones are upgraded, newer ones stop the worker unchanged."""

from dataclasses import replace

import pytest

from sidestream.models.history import describe, erase
from sidestream.models.history.layout import LAYOUT_VERSION
from sidestream.streams.contracts.partitioner import partition_of
from tests.streams.listens.fake_kafka import NOW_MS, FakeKafka
from tests.streams.listens.lane_scenes import changelog, run_to_end

# One listen at 1,600,000,000,000 of item 0102030405060708, in layout 1 as written by the first release.
FIRST_LAYOUT = bytes.fromhex(
    "010001010001010000000000000000000" + "1ffffffffffffffffa1b2c3d4e5f60807060504030201" + "00806e877401ff00ff"
)


def home(key: bytes) -> int:
    return partition_of(key, 2)


def history(value: bytes) -> list:
    return describe(value, lambda key: None)["history"]


async def test_table_full_of_the_first_layout_is_read_folded_and_upgraded(tmp_path):
    kafka = FakeKafka()
    homes = {}
    for number in range(400):
        key = f"old{number}".encode()
        homes[key] = home(key)
        kafka.append("changelog", homes[key], key, FIRST_LAYOUT)
        if number % 2:
            kafka.listen(homes[key], key.decode(), number)
    states = await run_to_end(kafka, tmp_path)
    assert not kafka.crashes
    assert len(states) == 200
    for key, value in states.items():
        assert [entry["at"] for entry in history(value)] == [NOW_MS - 10_000 + int(key[3:]), 1_600_000_000_000]
    after = changelog(kafka)
    assert {key for key, value in after.items() if value == FIRST_LAYOUT} == homes.keys() - states.keys()
    erased = erase(FIRST_LAYOUT, 1_500_000_000_000)
    assert (FIRST_LAYOUT[0], erased[0]) == (1, 2)
    assert history(erased) == history(FIRST_LAYOUT)


async def test_layout_of_a_later_release_stops_the_worker_and_is_not_rewritten(tmp_path):
    kafka = FakeKafka()
    later = bytes([LAYOUT_VERSION + 1]) + FIRST_LAYOUT[1:]
    key = b"u"
    kafka.append("changelog", home(key), key, later)
    kafka.listen(home(key), "u", 1)
    await run_to_end(kafka, tmp_path)
    assert f"expected a layout version up to {LAYOUT_VERSION}, got {LAYOUT_VERSION + 1}" in str(kafka.crashes[0])
    assert "run the release that wrote it" in str(kafka.crashes[0])
    assert changelog(kafka) == {key: later}
    assert kafka.offsets.get(home(key), 0) == 0


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("listens", {"topic_id": "00000000-0000-0000-0000-000000000009"}, "source topic recreated: expected topic id"),
        ("changelog", {"topic_id": "00000000-0000-0000-0000-000000000009"}, "changelog recreated: expected topic id"),
        ("listens", {"partitions": 4}, "expected 2 partitions"),
        ("changelog", {"partitions": 4}, "expected 2 partitions"),
    ],
)
async def test_states_of_other_topics_are_rejected(tmp_path, name, change, said):
    kafka = FakeKafka()
    kafka.listen(0, "u0", 1)
    await run_to_end(kafka, tmp_path)
    before = changelog(kafka)
    kafka.topics[name] = replace(kafka.topics[name], **change)
    if name == "changelog":
        for partition in (0, 1):
            kafka.logs["changelog", partition].clear()
        before = {}
    kafka.listen(0, "u0", 2)
    await run_to_end(kafka, tmp_path)
    assert said in str(kafka.crashes[0])
    assert "sidestream state rebase" in str(kafka.crashes[0])
    assert changelog(kafka) == before


async def test_source_without_topic_ids_is_compared_by_name_and_partition_count(tmp_path):
    kafka = FakeKafka()
    kafka.topics = {name: replace(topic, topic_id=None) for name, topic in kafka.topics.items()}
    kafka.listen(0, "u0", 1)
    for _ in range(2):
        await run_to_end(kafka, tmp_path)
    assert not kafka.crashes


async def test_users_of_other_partitions_are_rejected_without_an_origin_record(tmp_path):
    kafka = FakeKafka()
    kafka.append("changelog", 1 - home(b"u"), b"u", FIRST_LAYOUT)
    await run_to_end(kafka, tmp_path)
    assert "repartitioned: expected the users of" in str(kafka.crashes[0])
