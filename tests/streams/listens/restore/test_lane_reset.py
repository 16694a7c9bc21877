"""A reset run on another machine: an existing table folds the source again, on an in-memory Kafka."""

import shutil

import pytest

from sidestream.streams.listens.restore.origin import ORIGIN_KEY
from tests.streams.listens.fake_kafka import FakeKafka
from tests.streams.listens.lane_scenes import GUARANTEES, PARTITIONS, changelog, expected, fill, run_to_end


def reset(kafka: FakeKafka) -> None:
    """What `state reset --all` does on another machine."""
    for partition in PARTITIONS:
        for key in dict.fromkeys([ORIGIN_KEY, *(record.key for record in kafka.visible("changelog", partition))]):
            kafka.append("changelog", partition, key, None)
    kafka.offsets.clear()


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_existing_table_does_not_hide_listens_to_refold_after_a_reset(tmp_path, guarantee):
    kafka = FakeKafka()
    fill(kafka, 200)
    before = await run_to_end(kafka, tmp_path / "a", guarantee)
    reset(kafka)
    assert not any(changelog(kafka).values())
    assert await run_to_end(kafka, tmp_path / "a", guarantee) == before == expected(kafka)
    assert not kafka.crashes


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_table_that_missed_the_reset_does_not_hide_them_after_others_started(tmp_path, guarantee):
    kafka = FakeKafka()
    fill(kafka, 200)
    before = await run_to_end(kafka, tmp_path / "a", guarantee)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    reset(kafka)
    shutil.rmtree(tmp_path / "a")
    await run_to_end(kafka, tmp_path / "a", guarantee)
    # As if the first one had been killed with everything on the changelog but not yet committed.
    kafka.offsets.clear()
    assert await run_to_end(kafka, tmp_path / "b", guarantee) == before == expected(kafka)
    assert not kafka.crashes
