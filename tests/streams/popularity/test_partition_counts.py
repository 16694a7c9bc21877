"""Counts of a partition: a pure fold up to the offset in each value, wherever it stops and resumes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import SIGNALS
from sidestream.models.records.signals import is_positive
from sidestream.streams.errors import BadRecord
from sidestream.streams.popularity.partition_counts import PartitionCounter
from sidestream.streams.popularity.values import NUM_PARTS, CountedPart, part_key, read_key, read_part
from sidestream.tokenizer.popularity import Counts, Decay, merge_counts
from sidestream.tokenizer.sid import item_key

DECAY = Decay(16_000)


def listen(item, at, signal="listen"):
    return ListenRow("e", "u", f"item-{item}", at, signal=signal)


def expected(log):
    parts = [
        Counts.from_step(one.at // DECAY.step_ms, np.array([item_key(one.item_id)], np.uint64), np.array([1]))
        for one in log
        if is_positive(one.signal)
    ]
    return merge_counts(parts)


def as_dict(counts):
    weights = np.ldexp(counts.weights, counts.landmark)
    return dict(zip(counts.keys.tolist(), weights.tolist(), strict=True))


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_listen_counts_once_if_its_signal_is_positive(signal):
    counter = PartitionCounter(0, DECAY)
    counter.add([[(0, listen(1, 5)), (1, listen(2, 5, signal))]], 2)
    assert set(as_dict(counter.counts())) == {item_key("item-1")} | (
        {item_key("item-2")} if is_positive(signal) else set()
    )
    assert len(set(as_dict(counter.counts()).values())) == 1


logs = st.lists(
    st.builds(listen, st.integers(0, 40), st.integers(0, 60_000), st.sampled_from(["listen", *SIGNALS])),
    max_size=80,
)


class Topic:
    """The compacted topic: the last value of every key; `cut` writes a publication only in part."""

    def __init__(self):
        self.values = {}

    def write(self, records, cut=None):
        self.values.update(list(records.items())[:cut])

    def parts(self):
        return {read_key(key)[1]: read_part(value) for key, value in self.values.items()}

    def counts(self):
        return merge_counts([found.counts for part, found in self.parts().items() if part is not None])


@given(logs, st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, NUM_PARTS))
@settings(max_examples=60, deadline=None)
def test_counts_do_not_depend_on_batches_or_publishing_times(log, sizes, max_parts):
    counter, topic, offset = PartitionCounter(3, DECAY), Topic(), 0
    while offset < len(log):
        size = sizes[offset % len(sizes)]
        batch = [(offset + n, one) for n, one in enumerate(log[offset : offset + size])]
        # Grouped by user, as the lane passes them.
        counter.add([batch[::2], batch[1::2]], offset + len(batch))
        offset += len(batch)
        topic.write(counter.publish(max_parts))
    assert as_dict(counter.counts()) == as_dict(expected(log))
    while counter.has_changes:
        topic.write(counter.publish(max_parts))
    assert as_dict(topic.counts()) == as_dict(expected(log))
    assert all(key.startswith(b"3/") for key in topic.values)


@given(logs, st.data())
@settings(max_examples=80, deadline=None)
def test_after_any_crash_nothing_is_missing_or_counted_twice(log, data):
    topic, offset = Topic(), 0
    topic.write(PartitionCounter(0, DECAY).mark(0))
    while True:
        # A new owner resumes at the published offset, or at an older one if the commit was behind.
        parts = topic.parts()
        begin = data.draw(st.integers(0, parts[None].offset))
        taken_up = {part: found for part, found in parts.items() if part is not None}
        counter, offset = PartitionCounter(0, DECAY, begin, taken_up), begin
        crash_at = data.draw(st.one_of(st.none(), st.integers(begin, len(log))))
        while offset < len(log) and (crash_at is None or offset < crash_at):
            size = data.draw(st.integers(1, 20))
            batch = [(offset + n, one) for n, one in enumerate(log[offset : offset + size])]
            counter.add([batch], offset + len(batch))
            offset += len(batch)
            if data.draw(st.booleans()):
                topic.write(counter.publish(data.draw(st.integers(1, 20))))
        if crash_at is None:
            break
        # Without transactions a publication may be incomplete; its offset comes last.
        topic.write(counter.publish(data.draw(st.integers(1, 20))), cut=data.draw(st.integers(0, 25)))
    while counter.has_changes:
        topic.write(counter.publish(NUM_PARTS))
    assert as_dict(topic.counts()) == as_dict(counter.counts()) == as_dict(expected(log))
    assert topic.parts()[None].offset == len(log)


def test_skips_and_dislikes_do_not_count():
    counter = PartitionCounter(0, DECAY)
    counter.add([[(n, listen(n, 0, s)) for n, s in enumerate(("listen", "skip", "dislike", "share"))]], 4)
    assert sorted(counter.counts().keys.tolist()) == sorted(item_key(f"item-{n}") for n in (0, 3))


def test_parts_are_published_in_rotation():
    counter = PartitionCounter(0, DECAY)
    counter.add([[(n, listen(n, 0)) for n in range(600)]], 600)
    seen = []
    while counter.has_changes:
        records = counter.publish(100)
        parts = [read_key(key)[1] for key in records]
        assert parts[-1] is None
        assert len(parts) <= 101
        seen += parts[:-1]
        left = read_part(records[part_key(0, None)]).offset
        assert left == (0 if counter.has_changes else 600)
        # New listens of published parts wait until all other parts were published.
        if len(seen) == 100:
            counter.add([[(600, listen(0, 0))]], 600)
    assert len(seen) >= len(set(seen)) > 200
    assert seen[:100] == sorted(seen[:100])


def test_items_without_recent_listens_are_dropped():
    later = 16_000 * 11
    counter, topic = PartitionCounter(0, DECAY), Topic()
    listens = [listen("old", 0), listen("again", 0), *(listen(n, later) for n in range(900)), listen("again", later)]
    counter.add([list(enumerate(listens))], len(listens))
    topic.write(counter.publish(NUM_PARTS))
    counts, wanted = as_dict(topic.counts()), as_dict(expected(listens))
    assert wanted.pop(item_key("item-old")) == 1
    assert counts == wanted


def test_values_round_trip():
    part = CountedPart(16_000, 7, expected([listen(1, 5), listen(2, 9)]))
    back = read_part(part.to_bytes())
    assert (back.half_life_ms, back.offset, as_dict(back.counts)) == (16_000, 7, as_dict(part.counts))
    assert [read_key(part_key(12, part)) for part in (None, 0, 255)] == [(12, None), (12, 0), (12, 255)]


@pytest.mark.parametrize("key", [None, b"", b"1", b"1/", b"a/00", b"1/zz", b"01/00", b"1/0", b"1/100", b"\xff/00"])
def test_invalid_keys_are_rejected(key):
    with pytest.raises(BadRecord):
        read_key(key)


GOOD = CountedPart(16_000, 7, expected([listen(1, 5), listen(2, 9)])).to_bytes()
SWAPPED = GOOD[:25] + GOOD[33:41] + GOOD[25:33] + GOOD[41:]


@pytest.mark.parametrize(
    "value", [b"", b"\x02" + GOOD[1:], GOOD[:-1], GOOD + b"\0", SWAPPED, GOOD[:-8] + b"\xff" * 8, b"\x01nonsense"]
)
def test_invalid_values_are_rejected(value):
    with pytest.raises(BadRecord):
        read_part(value)
