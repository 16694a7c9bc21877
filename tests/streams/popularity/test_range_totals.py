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


DAY_AHEAD_MS = 86_400_000


def test_changes_that_are_dated_far_ahead_drop_no_other_item():
    totals = RangeTotals(DECAY, {}, 0)
    assert totals.add(0, expected([listen(n, 0) for n in range(300)]), DECAY.half_life_ms)
    assert not totals.add(1, expected([listen("ahead", 2 * DAY_AHEAD_MS)]), DECAY.half_life_ms)
    assert totals.add(2, expected([listen(1, DECAY.half_life_ms)]), DECAY.half_life_ms)
    values = totals.publish()
    wanted = expected([*(listen(n, 0) for n in range(300)), listen(1, DECAY.half_life_ms)])
    assert as_dict(counts_in(values)) == as_dict(wanted)
    assert (totals.next_offset, max(found.offset for found in as_totals(values).values())) == (3, 3)


def test_totals_that_are_dated_far_ahead_are_replaced():
    """An older release has counted a listen of a later year: nothing else in its part can be read any more."""
    ahead, sound = listen("item-of-2099", 2 * DAY_AHEAD_MS), listen(1, 0)
    parts = {item_key(one.item_id) >> 56: CountedPart(DECAY.half_life_ms, 5, expected([one])) for one in (ahead, sound)}
    totals = RangeTotals(DECAY, parts, 5, DECAY.half_life_ms)
    assert totals.has_changes
    published = as_totals(totals.publish())
    assert {part: found.counts.keys.size for part, found in published.items()} == {item_key(ahead.item_id) >> 56: 0}
    assert not totals.has_changes
    totals.add(5, expected([listen(1, 0)]), DECAY.half_life_ms)
    assert list(as_dict(counts_in(totals.publish())).values()) == [2.0]


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
