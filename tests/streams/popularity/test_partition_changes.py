"""Changes of a partition: all that is counted is published once, wherever counting stops and resumes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.streams.popularity.listen_counts import ListenCounts
from sidestream.streams.popularity.partition_changes import CountTopics, PartitionChanges, Published
from sidestream.streams.popularity.values import CountedPart, part_key, read_key, read_part, split_by_part
from sidestream.tokenizer.popularity import Counts, merge_counts
from sidestream.tokenizer.sid import item_key
from tests.streams.popularity.counted_log import DECAY, as_dict, expected, listen, logs

TOPICS = CountTopics("marks", 8, "changes", 4)
HALF_LIFE_MS = DECAY.half_life_ms


class Topics:
    """What is durable: marks and older parts by key, and all changes."""

    def __init__(self):
        self.values, self.changes = {}, []

    def write(self, records):
        for record in records:
            if record.topic == "changes":
                assert record.key == b"3"
                self.changes.append(read_part(record.value))
                parts = self.changes[-1].counts.keys >> 56
                assert (parts // 64 == record.partition).all()
            elif record.value is None:
                del self.values[record.key]
            else:
                assert record.partition == 3
                self.values[record.key] = record.value

    def published(self):
        found = {read_key(key)[1]: read_part(value) for key, value in self.values.items()}
        mark = found.pop(None, None)
        return Published(None if mark is None else mark.offset, found)

    def counts(self):
        return merge_counts([some.counts for some in self.changes])


def resume(topics, position):
    return PartitionChanges(3, DECAY, TOPICS, topics.published(), position)


def rows(log, start, end):
    return list(enumerate(log))[start:end]


def older_parts(log, offsets, mark):
    """Counts as older releases published them: each part up to its own offset, at least the mark."""
    parts = {}
    for part, _ in split_by_part(expected(log)):
        offset = max(mark, offsets.get(part, 0))
        counted = expected([one for one in log[:offset] if item_key(one.item_id) >> 56 == part])
        parts[part] = CountedPart(HALF_LIFE_MS, offset, counted)
    return parts


steps = st.lists(st.tuples(st.sampled_from(["fold", "recount", "publish"]), st.integers(1, 30)), max_size=10)
owners = st.lists(st.tuples(steps, st.sampled_from(["crash", "hand over"]), st.integers(0, 20)), max_size=5)


@given(logs, owners)
@settings(max_examples=100, deadline=None)
def test_after_any_crash_and_any_handover_nothing_is_missing_or_counted_twice(log, owners):
    topics, position = Topics(), 0
    for acts, end, not_committed in owners:
        changes = resume(topics, position)
        topics.write(changes.take())
        changes.published()
        for act, size in acts:
            if act == "fold":
                after = min(len(log), position + size)
                batch = rows(log, position, after)
                changes.add([batch[::2], batch[1::2]], after)
                position = after
            elif act == "recount" and not changes.is_caught_up:
                start = changes.next_offset
                after = start + min(size, changes.behind)
                changes.recount(rows(log, start, after), after)
            elif act == "publish":
                topics.write(changes.take())
                changes.published()
        if end == "hand over":
            topics.write(changes.take())
            if changes.is_caught_up:
                assert topics.published().mark >= position
                assert as_dict(topics.counts()) == as_dict(expected(log[: topics.published().mark]))
        # Without transactions the offsets of the last batches may not be committed: they are brought once more.
        position = max(0, position - not_committed)
    changes = resume(topics, position)
    changes.add([rows(log, position, len(log))], len(log))
    if not changes.is_caught_up:
        changes.recount(rows(log, changes.next_offset, position), position)
    topics.write(changes.take())
    assert as_dict(topics.counts()) == as_dict(expected(log))
    assert topics.published() == Published(len(log), {})


@given(logs, st.data())
@settings(max_examples=60, deadline=None)
def test_counts_in_the_older_form_are_carried_over_once(log, data):
    position = data.draw(st.integers(0, len(log)))
    mark = data.draw(st.integers(0, position))
    offsets = data.draw(st.dictionaries(st.integers(0, 255), st.integers(mark, position)))
    topics = Topics()
    for part, counted in older_parts(log, offsets, mark).items():
        topics.values[part_key(3, part)] = counted.to_bytes()
    topics.values[part_key(3, None)] = CountedPart(HALF_LIFE_MS, mark, Counts.empty()).to_bytes()
    before = dict(topics.values)

    changes = resume(topics, position)
    changes.add([rows(log, position, len(log))], len(log))
    cut = data.draw(st.integers(mark, position))
    if mark < cut:
        changes.recount(rows(log, mark, cut), cut)
    records = changes.take()
    if records:
        assert {read_key(key)[1] for key in before} - {None} == {
            read_key(record.key)[1] for record in records if record.value is None
        }
    # A crash here: either all of it is durable, or nothing.
    if data.draw(st.booleans()):
        topics.write(records)
    else:
        assert topics.values == before
    changes = resume(topics, position)
    changes.add([rows(log, position, len(log))], len(log))
    if not changes.is_caught_up:
        changes.recount(rows(log, changes.next_offset, position), position)
    topics.write(changes.take())
    assert as_dict(topics.counts()) == as_dict(expected(log))
    assert topics.published() == Published(len(log), {})


def test_an_older_worker_that_takes_a_partition_back_counts_on_from_the_mark():
    """Workers of both releases share a group while it is upgraded: what each of them counted is there once."""
    log = [listen(n % 7, n) for n in range(60)]
    topics = Topics()
    changes = resume(topics, 0)
    changes.add([rows(log, 0, 20)], 20)
    topics.write(changes.take())
    # The older worker finds the mark and no parts, counts from it, and publishes parts with a mark.
    older = ListenCounts(DECAY)
    older.add(log[20:40])
    for part, counts in split_by_part(older.sums()):
        topics.values[part_key(3, part)] = CountedPart(HALF_LIFE_MS, 40, counts).to_bytes()
    topics.values[part_key(3, None)] = CountedPart(HALF_LIFE_MS, 40, Counts.empty()).to_bytes()
    changes = resume(topics, 40)
    changes.add([rows(log, 40, 60)], 60)
    topics.write(changes.take())
    assert as_dict(topics.counts()) == as_dict(expected(log))
    assert topics.published() == Published(60, {})


def test_older_parts_without_a_mark_are_counted_from_the_beginning():
    log = [listen(n % 7, n) for n in range(40)]
    published = Published(None, older_parts(log, dict.fromkeys(range(0, 256, 2), 30), 0))
    changes, topics = PartitionChanges(3, DECAY, TOPICS, published, 40), Topics()
    topics.values = {part_key(3, part): counted.to_bytes() for part, counted in published.parts.items()}
    assert not changes.is_caught_up
    assert changes.behind == 40
    changes.recount(rows(log, 0, 40), 40)
    topics.write(changes.take())
    assert as_dict(topics.counts()) == as_dict(expected(log))


def test_nothing_is_published_that_skips_what_is_counted_again():
    log = [listen(n, 0) for n in range(30)]
    changes = PartitionChanges(3, DECAY, TOPICS, Published(10), 20)
    changes.add([rows(log, 20, 30)], 30)
    assert changes.take() == ()
    assert (changes.behind, changes.num_unpublished) == (10, 10)
    changes.recount(rows(log, 10, 15), 15)
    topics = Topics()
    topics.write(changes.take())
    assert topics.published().mark == 15
    assert as_dict(topics.counts()) == as_dict(expected(log[10:15]))
    changes.published()
    changes.recount(rows(log, 15, 20), 20)
    assert (changes.behind, changes.num_unpublished, changes.next_offset) == (0, 15, 30)
    topics.write(changes.take())
    assert topics.published().mark == 30
    assert as_dict(topics.counts()) == as_dict(expected(log[10:]))


def test_records_in_flight_are_not_published_again():
    log = [listen(n, 0) for n in range(30)]
    changes = PartitionChanges(3, DECAY, TOPICS, Published(0), 0)
    changes.add([rows(log, 0, 10)], 10)
    first = changes.take()
    changes.add([rows(log, 10, 20)], 20)
    assert first
    assert changes.take() == ()
    changes.published()
    topics = Topics()
    topics.write([*first, *changes.take()])
    assert as_dict(topics.counts()) == as_dict(expected(log[:20]))


def test_without_a_mark_the_first_publication_is_one():
    changes = PartitionChanges(3, DECAY, TOPICS, Published(), 12)
    (record,) = changes.take()
    assert (record.topic, record.partition, record.key) == ("marks", 3, b"3/offset")
    assert read_part(record.value).offset == 12
    changes.published()
    assert changes.take() == ()


@pytest.mark.parametrize("num_listens", [0, 1])
def test_listens_that_do_not_count_move_the_mark(num_listens):
    changes = PartitionChanges(3, DECAY, TOPICS, Published(5), 5)
    changes.add([[(5, listen(1, 0, "skip"))][:num_listens]], 6)
    (record,) = changes.take()
    assert read_part(record.value).offset == 6
