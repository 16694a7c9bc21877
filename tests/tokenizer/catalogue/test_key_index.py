import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.catalogue.key_index import KeyIndex

keys_st = st.lists(st.integers(0, 2**64 - 1), max_size=20)


@given(keys_st, keys_st)
def test_one_key_is_found_where_many_are(known, asked):
    index = KeyIndex.empty().merged({key: row for row, key in enumerate(known)})
    asked += known
    rows = index.find(np.array(asked, dtype=np.uint64))
    assert [index.find_one(key) for key in asked] == rows.tolist()
