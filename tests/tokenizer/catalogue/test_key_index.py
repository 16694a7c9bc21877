import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.tokenizer.catalogue import key_index
from sidestream.tokenizer.catalogue.key_index import KeyIndex

keys_st = st.lists(st.integers(0, 2**64 - 1), max_size=20)


@given(keys_st, keys_st)
def test_one_key_is_found_where_many_are(known, asked):
    index = KeyIndex.empty().merged({key: row for row, key in enumerate(known)})
    asked += known
    rows = index.find(np.array(asked, dtype=np.uint64))
    assert [index.find_one(key) for key in asked] == rows.tolist()


@pytest.mark.parametrize("share", [0.0, 0.5, 100.0])
@given(st.lists(st.dictionaries(st.integers(0, 20), st.integers(0, 99), max_size=6), max_size=6))
def test_index_equals_a_dict_wherever_its_late_keys_lie(share, merges):
    index, known = KeyIndex.empty(), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "_MAX_RECENT_SHARE", share)
        for changes in merges:
            before, kept = index, dict(known)
            index = index.merged(changes)
            known.update(changes)
            for subject, expected in ((before, kept), (index, known), (index.compacted(), known)):
                asked = np.arange(22, dtype=np.uint64)
                assert subject.find(asked).tolist() == [expected.get(key, -1) for key in range(22)]
                assert [subject.find_one(key) for key in range(22)] == subject.find(asked).tolist()
                assert subject.num_keys == len(expected)
    assert index.compacted().keys.tolist() == sorted(known)
