import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.sessions.prefix import OffsetPrefix


def spread(gaps):
    return [sum(gaps[: number + 1]) for number in range(len(gaps))]


@given(st.data())
def test_the_committed_offset_passes_nothing_that_is_open_or_deferred(data):
    offsets = spread(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=40)))
    prefix, waiting, deferred, opened, done = OffsetPrefix(), list(offsets), [], [], []
    while waiting or opened or deferred:
        can = [
            name for name, some in (("begin", waiting), ("defer", waiting), ("end", opened), ("late", deferred)) if some
        ]
        step = data.draw(st.sampled_from(can))
        if step == "begin":
            opened.append(waiting.pop(0))
            prefix.begin(opened[-1])
        elif step == "defer":
            count = data.draw(st.integers(1, len(waiting)))
            deferred.append(waiting[:count])
            prefix.defer(waiting[0], waiting[count - 1] + 1)
            del waiting[:count]
        elif step == "late":  # of the range that was deferred last, its lowest record
            assert prefix.deferred.stop == deferred[-1][-1] + 1
            opened.append(deferred[-1].pop(0))
            prefix.begin(opened[-1])
            if not deferred[-1]:
                deferred.pop()
        else:
            done.append(opened.pop(data.draw(st.integers(0, len(opened) - 1))))
            prefix.done(done[-1])
        late = [offset for some in deferred for offset in some]
        unfinished, finished = [*opened, *late], set(done)
        committed = offsets[0] if prefix.next_offset is None else prefix.next_offset
        # All before it are finished, and it says as much as it can: no finished record without an open one before it.
        assert {offset for offset in offsets if offset < committed} <= finished
        assert finished <= {offset for offset in offsets if offset < committed} or min(unfinished) < max(finished)
        assert (prefix.deferred is None) == (not deferred)
    assert prefix.next_offset == offsets[-1] + 1


def test_nothing_is_committed_before_anything_has_begun():
    assert OffsetPrefix().next_offset is None


def test_offsets_must_begin_in_order():
    prefix = OffsetPrefix()
    prefix.begin(4)
    with pytest.raises(ValueError, match="at least 5, got 4"):
        prefix.begin(4)


def test_what_does_not_exist_at_the_end_of_a_deferred_range_is_passed():
    prefix = OffsetPrefix()
    prefix.defer(3, 10)
    assert (prefix.next_offset, prefix.num_deferred, prefix.deferred) == (None, 7, range(3, 10))
    prefix.begin(5)
    assert (prefix.next_offset, prefix.deferred) == (5, range(6, 10))
    prefix.pass_deferred(2)
    assert prefix.deferred == range(6, 10)
    prefix.pass_deferred(10)
    assert (prefix.next_offset, prefix.deferred) == (5, None)
    prefix.done(5)
    assert prefix.next_offset == 10
    prefix.begin(10)
    assert prefix.next_offset == 10


def test_skipped_records_are_committed():
    prefix = OffsetPrefix()
    prefix.skip(7)
    assert prefix.next_offset == 7
