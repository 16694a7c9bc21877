import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidestream.tokenizer.arrays.search import find

numbers = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9), max_size=12)


@given(numbers, numbers)
def test_values_are_found_as_in_a_list(values, wanted):
    values = sorted(values)
    found = find(np.array(values, dtype=np.uint64), np.array(wanted, dtype=np.uint64))
    assert found.tolist() == [values.index(value) if value in values else -1 for value in wanted]
