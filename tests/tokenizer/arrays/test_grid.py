import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sidestream.tokenizer.arrays.grid import require_rows, snap, unit_rows
from sidestream.tokenizer.errors import TokenizerError

rows = arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 40)), elements=st.floats(-(2.0**100), 2.0**100, width=32)
)


@given(rows, st.integers(4, 20))
def test_unit_rows_are_on_the_grid_and_of_length_one(values, bits):
    unit = unit_rows(values, bits)
    assert np.array_equal(unit, snap(unit, bits))
    lengths = np.linalg.norm(unit, axis=1)
    bound = np.sqrt(values.shape[1]) * 2.0**-bits
    assert np.all(np.where(values.any(axis=1), np.abs(lengths - 1.0) <= bound + 1e-4, lengths == 0.0))


@given(rows, st.randoms(use_true_random=False))
def test_unit_rows_do_not_depend_on_the_batch_or_column_order(values, random):
    unit = unit_rows(values, 16)
    alone = np.concatenate([unit_rows(row[None], 16) for row in values])
    assert np.array_equal(unit, alone)
    columns = list(range(values.shape[1]))
    random.shuffle(columns)
    assert np.array_equal(unit_rows(values[:, columns], 16), unit[:, columns])


def test_unit_rows_reach_the_smallest_and_largest_numbers():
    tiny = np.float32(1e-45)
    assert unit_rows(np.array([[tiny, 0], [3e38, 3e38], [0, 0]], np.float32), 14).round(3).tolist() == [
        [1, 0],
        [0.707, 0.707],
        [0, 0],
    ]
    assert unit_rows(np.zeros((0, 5), np.float32), 14).shape == (0, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_require_rows_names_the_bad_row(bad):
    values = np.zeros((4, 3), np.float32)
    values[2, 1] = bad
    with pytest.raises(TokenizerError, match="row 2 of 4"):
        require_rows(values, 3, "vectors")
    with pytest.raises(TokenizerError, match=r"expected an array of shape \(num_rows, 5\)"):
        require_rows(values, 5, "vectors")
