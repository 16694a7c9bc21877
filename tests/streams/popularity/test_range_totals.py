"""Totals of a range: the sum of all changes once, wherever reading stops and resumes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.streams.popularity.range_totals import RangeTotals
from sidestream.streams.popularity.values import CountedPart, read_part, read_total_key
from sidestream.tokenizer.popularity import Counts, merge_counts
from sidestream.tokenizer.sid import item_key
from tests.streams.popularity.counted_log import DECAY, as_dict, expected, listen, logs


def as_totals(values):
    return {read_total_key(key): read_part(value) for key, value in values.items()}


def counts_in(values):
    return merge_counts([found.counts for found in as_totals(values).values()])


@given(st.lists(logs, max_size=12), st.data())
@settings(max_examples=60, deadline=None)
def test_after_any_crash_each_change_is_contained_once(changes, data):
    """Also where a publication is durable only in part, or its offset is not: without transactions."""
    topic, committed = {}, 0
    while True:
        totals = RangeTotals(DECAY, as_totals(topic), committed)
        crash_at = data.draw(st.one_of(st.none(), st.integers(committed, len(changes))))
        for offset in range(committed, len(changes) if crash_at is None else crash_at):
            totals.add(offset, expected(changes[offset]))
            if data.draw(st.booleans()):
                totals.merge()
            if data.draw(st.booleans()):
                topic.update(totals.publish())
                committed = totals.next_offset if data.draw(st.booleans()) else committed
        if crash_at is None:
            break
        records = list(totals.publish().items())
        topic.update(records[: data.draw(st.integers(0, len(records)))])
    topic.update(totals.publish())
    assert not totals.has_changes
    assert as_dict(counts_in(topic)) == as_dict(expected([one for some in changes for one in some]))


def test_only_changed_parts_are_published():
    totals = RangeTotals(DECAY, {}, 0)
    totals.add(0, expected([listen(n, 0) for n in range(300)]))
    assert totals.has_changes
    assert len(totals.publish()) > 100
    totals.add(7, expected([listen(1, 0)]))
    ((key, value),) = totals.publish().items()
    assert read_total_key(key) == item_key("item-1") >> 56
    assert read_part(value).offset == 8
    totals.add(8, Counts.empty())
    assert totals.has_changes
    assert totals.publish() == {}


def test_items_without_recent_listens_are_dropped():
    later = 16_000 * 11
    totals = RangeTotals(DECAY, {}, 0)
    listens = [listen("old", 0), listen("again", 0), *(listen(n, later) for n in range(900)), listen("again", later)]
    for offset, one in enumerate(listens):
        totals.add(offset, expected([one]))
    counts, wanted = as_dict(counts_in(totals.publish())), as_dict(expected(listens))
    assert wanted.pop(item_key("item-old")) == 1
    assert counts == wanted


def test_changes_are_merged_before_there_are_too_many():
    totals = RangeTotals(DECAY, {}, 0)
    keys = np.arange(250_000, dtype=np.uint64) << np.uint64(40)
    totals.add(0, Counts(0, keys, np.ones(keys.size)))
    assert totals.is_full
    totals.merge()
    assert not totals.is_full
    assert as_dict(counts_in(totals.publish())) == dict.fromkeys(keys.tolist(), 1.0)


def test_totals_of_a_restored_part_go_on():
    first = CountedPart(DECAY.half_life_ms, 5, expected([listen(1, 0)]))
    totals = RangeTotals(DECAY, {item_key("item-1") >> 56: first}, 5)
    totals.add(5, expected([listen(1, 0)]))
    assert list(as_dict(counts_in(totals.publish())).values()) == [2.0]
