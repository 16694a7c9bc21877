import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.sessions.prefix import OffsetPrefix


@given(st.data())
def test_the_committed_offset_is_the_end_of_the_longest_finished_prefix(data):
    gaps = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=30))
    offsets = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    order = data.draw(st.permutations(offsets))
    prefix, begun, done, at = OffsetPrefix(), [], set(), iter(offsets)
    while len(done) < len(offsets):
        can_finish = [offset for offset in order if offset in begun and offset not in done]
        if len(begun) < len(offsets) and (not can_finish or data.draw(st.booleans())):
            begun.append(next(at))
            prefix.begin(begun[-1])
        else:
            done.add(can_finish[0])
            prefix.done(can_finish[0])
        finished = []
        for offset in begun:
            if offset not in done:
                break
            finished.append(offset)
        assert prefix.next_offset == (finished[-1] + 1 if finished else None)
        assert prefix.num_open == len(begun) - len(finished)
    assert prefix.next_offset == offsets[-1] + 1


def test_offsets_must_begin_in_order():
    prefix = OffsetPrefix()
    prefix.begin(4)
    with pytest.raises(ValueError, match="above 4, got 4"):
        prefix.begin(4)
