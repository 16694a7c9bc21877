"""Counting inside the listen lane, on an in-memory Kafka: each listen is among the changes once, whatever crashes."""

import asyncio
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.streams.contracts.decode import decode_listen
from sidestream.streams.contracts.topics import TopicState
from sidestream.streams.errors import BadRecord
from sidestream.streams.popularity.count_publisher import ItemCounting
from sidestream.streams.popularity.partition_changes import CountTopics
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import read_key, read_part
from sidestream.tokenizer.popularity import Counts, merge_counts
from sidestream.tokenizer.sid import item_key
from tests.streams.listens.fake_kafka import NOW_MS, FakeKafka
from tests.streams.listens.lane_scenes import PARTITIONS, drain, fill, make_lane, run_to_end
from tests.streams.popularity.counted_log import as_dict

SETTINGS = PopularitySettings(publish_s=0.0001)
RANGES = 3


def counting_on(kafka):
    topics = CountTopics("counts", 2, "changes", RANGES)
    return ItemCounting(topics, "listens", kafka, decode_listen, SETTINGS)


def weights(parts):
    return as_dict(merge_counts(parts), NOW_MS // SETTINGS.decay.half_life_ms)


def published(kafka):
    records = [record for number in range(RANGES) for record in kafka.visible("changes", number)]
    return weights([read_part(record.value).counts for record in records])


def counted(kafka):
    parts = []
    for partition in PARTITIONS:
        for record in kafka.logs["listens", partition]:
            try:
                listen = decode_listen(record.key, record.value, record.timestamp)
            except BadRecord:
                continue
            key = np.array([item_key(listen.item_id)], np.uint64)
            parts.append(Counts.from_step(listen.at // SETTINGS.decay.step_ms, key, np.array([1])))
    return weights(parts)


def marks(kafka):
    found = {}
    for partition in PARTITIONS:
        for record in kafka.visible("counts", partition):
            assert read_key(record.key) == (partition, None)
            found[partition] = read_part(record.value).offset
    return found


@settings(max_examples=4, deadline=None)
@given(crashes=st.lists(st.integers(0, 40), min_size=1, max_size=2), more=st.integers(1, 60))
def test_crashes_at_any_step_never_lose_or_repeat_a_count(crashes, more):
    async def scenario(folder: Path) -> None:
        kafka = FakeKafka()
        kafka.topics |= {"changes": TopicState(RANGES, None)}
        await run_to_end(kafka, folder, derived=counting_on(kafka))
        fill(kafka, 90)
        for acks in crashes:
            kafka.acks_left = acks
            await run_to_end(kafka, folder, derived=counting_on(kafka))
            kafka.crashes.clear()
            fill(kafka, more)
        kafka.acks_left = None
        counting = counting_on(kafka)
        lane = make_lane(kafka, folder, derived=counting)
        await lane.on_assigned(PARTITIONS)
        await drain(kafka, lane)
        async with asyncio.timeout(20):
            while counting.behind():
                await asyncio.sleep(0.001)
        await lane.on_revoked(PARTITIONS)
        assert not kafka.crashes
        assert marks(kafka) == {partition: kafka.end("listens", partition) for partition in PARTITIONS}
        assert published(kafka) == counted(kafka)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))
