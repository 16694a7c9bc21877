"""Nearest neighbours against a brute-force search."""

import numpy as np
import pytest

from sidestream.tokenizer.quality import neighbours
from sidestream.tokenizer.quality.neighbours import nearest_items, overlap, unit_vectors


@pytest.mark.parametrize("block_scores", [40, 1 << 22])
def test_nearest_are_those_of_all_pairs(monkeypatch, block_scores):
    monkeypatch.setattr(neighbours, "_BLOCK_SCORES", block_scores)
    vectors = unit_vectors(np.random.default_rng(0).standard_normal((30, 5)))
    among = np.arange(0, 30, 2)
    found = nearest_items(np.arange(30), vectors, among, 4)
    for query, rows in enumerate(found):
        others = [row for row in among if row != query]
        best = sorted(others, key=lambda row: -vectors[query] @ vectors[row])[:4]
        assert rows.tolist() == sorted(best)


def test_overlap_is_the_mean_share_of_common_rows():
    assert overlap(np.array([[1, 2], [3, 4]]), np.array([[2, 5], [4, 3]])) == pytest.approx(0.75)
    assert overlap(np.empty((0, 3), np.intp), np.empty((0, 3), np.intp)) == 0.0


def test_a_row_of_zeros_stays_zero():
    unit = unit_vectors(np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert np.allclose(unit, [[0.0, 0.0], [0.6, 0.8]])
