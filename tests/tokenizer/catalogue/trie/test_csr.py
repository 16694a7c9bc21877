import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.catalogue.trie import csr
from sidestream.tokenizer.catalogue.trie.csr import Splice


@pytest.mark.parametrize("min_run", [0, 10**9])
@given(st.data())
@settings(deadline=None)
def test_splice_drops_and_inserts_as_lists_do(min_run, data):
    size = data.draw(st.integers(0, 12))
    dropped = sorted(data.draw(st.sets(st.integers(0, max(0, size - 1)), max_size=size)) if size else [])
    places = sorted(data.draw(st.lists(st.integers(0, size), max_size=8)))
    old, fresh = np.arange(size, dtype=np.int32), -1 - np.arange(len(places))
    expected = []
    for place in range(size + 1):
        expected += [value for at, value in zip(places, fresh.tolist(), strict=True) if at == place]
        expected += [place] if place < size and place not in dropped else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csr, "_MIN_RUN", min_run)
        plan = Splice(size, np.array(dropped, dtype=np.int64), np.array(places, dtype=np.int64))
        got = plan.apply(old, fresh)
        wide = plan.apply(np.stack([old, old], axis=1), np.stack([fresh, fresh], axis=1))
        counts = data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
        offsets = plan.offsets(np.cumsum([0, *counts], dtype=np.int32), 1 + np.arange(len(places)))
    lengths = [counts[value] if value >= 0 else -value for value in expected]
    assert offsets.dtype == np.int32
    assert offsets.tolist() == np.cumsum([0, *lengths]).tolist()
    assert got.dtype == np.int32
    assert got.tolist() == wide[:, 1].tolist() == expected
    assert got[plan.fresh].tolist() == fresh.tolist()
    assert not np.shares_memory(got, old)
