"""int8 quantization with one scale per row: error of at most half a step, and never a changed sign."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.tokenizer.arrays.int8 import quantize_rows

PRECISIONS = [np.float64, np.float32]


@pytest.mark.parametrize("precision", PRECISIONS)
@given(st.integers(-149, 127), st.integers(0, 2**32 - 1))
def test_a_component_keeps_its_sign_at_every_scale(precision, exponent, seed):
    # Below 2**-119 the scale has fewer bits than a float32 has elsewhere, and the largest component is over 127 steps.
    vectors = np.ldexp(np.random.default_rng(seed).uniform(-1, 1, (4, 8)), exponent).astype(np.float32)
    rows, scales = quantize_rows(vectors, precision=precision)
    assert ((rows == 0) | (np.sign(rows) == np.sign(vectors))).all()
    assert (np.abs(rows.astype(int)) <= 127).all()
    largest = np.abs(vectors).argmax(axis=1)
    assert ((np.abs(rows[range(4), largest].astype(int)) == np.abs(rows.astype(int)).max(axis=1)) | (scales == 0)).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_are_half_a_step_off_at_most(precision):
    vectors = np.random.default_rng(0).standard_normal((50, 24)).astype(np.float32)
    vectors[7] = 0.0
    vectors[8, 0] = 1e-38
    rows, scales = quantize_rows(vectors, precision=precision)
    assert np.all(np.abs(rows * scales[:, None].astype(float) - vectors) <= scales[:, None] * 0.5001)
    assert scales[7] == 0.0
    assert not rows[7].any()
    assert np.abs(rows[:7]).max(axis=1).tolist() == [127] * 7


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_rows_and_no_columns_are_no_fault(precision):
    for shape in ((0, 4), (3, 0)):
        rows, scales = quantize_rows(np.empty(shape, np.float32), precision=precision)
        assert (rows.shape, scales.tolist()) == (shape, [0.0] * shape[0])
