import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.generations.last_records import LastRecords


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans(), st.integers(1, 5)), max_size=30))
def test_the_last_record_of_each_item_counts(records):
    last, expected, offset = LastRecords(), {}, -1
    for item_id, removes, step in records:
        offset += step
        last.add(item_id, offset, removes=removes)
        expected.pop(item_id, None)
        if not removes:
            expected[item_id] = offset
    assert last.offsets().tolist() == sorted(expected.values())
    assert last.offsets().dtype == np.int64
