"""The feature function: latest entries, without unknown ones, never an empty array."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.features import ItemHistory, features

ENTRY = st.tuples(st.integers(-1, 9), st.booleans())


@given(st.lists(ENTRY, max_size=30), st.integers(1, 12))
def test_features_keep_the_latest_usable_entries(entries, max_len):
    rows = np.array([row for row, _ in entries], np.int32)
    codes = np.array([(row + 20, 3) if known else (-1, -1) for row, known in entries], np.int32).reshape(-1, 2)

    built = features(ItemHistory(rows, codes), max_len)

    usable = [(row, row + 20 if known else -1) for row, known in entries if row >= 0 or known][-max_len:]
    expected = usable or [(-1, -1)]
    assert list(zip(built.history_rows.tolist(), built.history_codes[:, 0].tolist(), strict=True)) == expected
    assert built.history_rows.dtype == built.history_codes.dtype == np.int32
    assert built.history_codes.flags.c_contiguous
