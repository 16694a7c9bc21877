"""Pending work is measured by positions, so that control records and prefetched records do not distort it."""

from aiokafka import TopicPartition

from sidestream.streams.runtime.progress import ReadProgress


class Consumer:
    def __init__(self, positions):
        self.positions = positions

    async def position(self, partition):
        return self.positions[partition]


async def test_records_are_pending_until_read_and_done():
    consumer = Consumer({TopicPartition("t", 0): 5, TopicPartition("t", 1): 9})
    reading = ReadProgress()
    assert reading.work({0: 7, 1: 9}, ()).waiting == 0, "nothing is read yet: the assignment is the restore's matter"
    await reading.note(consumer, "t", [0, 1], {1: [1, 2, 3]})
    assert reading.unread({0: 7, 1: 9}) == {0: 2, 1: 0}
    before = reading.work({0: 7, 1: 9}, (3,))
    assert before.waiting == 2 + 3
    reading.in_flight = 0
    assert reading.work({0: 7, 1: 9}, (9,)).waiting == 2
    assert reading.work({0: 7, 1: 9}, (9,)).done != before.done
    assert reading.work({0: 70, 1: 9}, (3,)).done == before.done


async def test_ends_before_the_position_and_other_partitions_do_not_count():
    reading = ReadProgress()
    await reading.note(Consumer({TopicPartition("t", 0): 5}), "t", [0], {})
    assert reading.work({0: 3, 1: 100}, ()).waiting == 0
    assert reading.work({}, ()).waiting == 0
