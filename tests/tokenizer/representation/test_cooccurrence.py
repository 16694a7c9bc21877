import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sidestream.tokenizer.representation.cooccurrence as subject
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.representation.cooccurrence import SparseMatrix, cooccurrence_vectors, count_pairs, ppmi

lists_of_items = st.lists(st.lists(st.integers(0, 7), max_size=12), max_size=8)


def dense(matrix):
    full = np.zeros((matrix.size, matrix.size))
    np.add.at(full, (matrix.rows, matrix.columns), matrix.values)
    return full


@given(lists_of_items, st.integers(1, 20))
def test_count_pairs_equals_the_naive_count(sequences, window):
    expected = np.zeros((8, 8))
    for sequence in sequences:
        for later in range(len(sequence)):
            for earlier in range(max(0, later - window), later):
                first, second = sequence[earlier], sequence[later]
                if first != second:
                    expected[first, second] += 1.0 / (later - earlier)
                    expected[second, first] += 1.0 / (later - earlier)
    counts = count_pairs([np.array(sequence, dtype=np.int64) for sequence in sequences], 8, window)
    assert dense(counts) == pytest.approx(expected, rel=1e-5)
    order = counts.rows * 8 + counts.columns
    assert np.all(np.diff(order) > 0)


def test_count_pairs_is_the_same_when_memory_is_bounded(monkeypatch):
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 30, 20) for _ in range(40)]
    whole = count_pairs(sequences, 30, 9)
    monkeypatch.setattr(subject, "_MAX_PENDING", 2)
    parts = count_pairs(sequences, 30, 9)
    assert dense(parts) == pytest.approx(dense(whole), rel=1e-6)


@pytest.mark.parametrize("index", [-1, 5])
def test_count_pairs_refuses_foreign_indices(index):
    with pytest.raises(TokenizerError, match="expected 0 to 4"):
        count_pairs([np.array([0, index])], 5, 3)


@given(lists_of_items, st.integers(1, 6))
def test_sparse_product_equals_the_dense_one(sequences, width):
    counts = count_pairs([np.array(sequence, dtype=np.int64) for sequence in sequences], 8, 5)
    right = np.random.default_rng(1).standard_normal((8, width)).astype(np.float32)
    assert counts.dot(right) == pytest.approx(dense(counts) @ right, rel=1e-4, abs=1e-5)


def test_ppmi_equals_the_formula():
    counts = SparseMatrix(3, np.array([0, 0, 1, 2]), np.array([1, 2, 0, 0]), np.array([3, 1, 3, 1], np.float32))
    totals = np.array([4, 3, 1])
    contexts = totals**0.75 / (totals**0.75).sum()
    expected = np.maximum(np.log(dense(counts) / 8 / (totals[:, None] / 8 * contexts) + 1e-300), 0)
    assert dense(ppmi(counts)) == pytest.approx(expected, rel=1e-5)


def test_vectors_equal_the_dense_svd_of_a_low_rank_matrix():
    rng = np.random.default_rng(3)
    sequences = [rng.choice(np.arange(block * 8, block * 8 + 8), 30) for block in range(5) for _ in range(20)]
    vectors = cooccurrence_vectors(sequences, 41, 12, np.random.default_rng(0), window=5)
    matrix = dense(ppmi(count_pairs(sequences, 41, 5)))
    left, singular, _ = np.linalg.svd(matrix)
    assert np.sort((vectors**2).sum(axis=0))[::-1] == pytest.approx(singular[:12], rel=0.01)
    expected = (left[:, :5] * singular[:5]) @ left[:, :5].T
    assert (vectors[:, :5] * np.sqrt(singular[:5])) @ (vectors[:, :5] / np.sqrt(singular[:5])).T == pytest.approx(
        expected, abs=0.02
    )
    assert not vectors[40].any()


def test_vectors_bring_items_heard_together_together():
    rng = np.random.default_rng(3)
    sequences = [rng.choice(np.arange(listener % 4, 40, 4), 10) for listener in range(200)]
    vectors = cooccurrence_vectors(sequences, 40, 8, np.random.default_rng(0))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = np.argsort(-(unit @ unit.T), axis=1)[:, 1]
    assert np.mean(nearest % 4 == np.arange(40) % 4) == 1.0


@settings(max_examples=30, deadline=None)
@given(lists_of_items, st.integers(0, 20))
def test_vectors_are_defined_for_any_few_listens(sequences, dim):
    sequences = [np.array(sequence, dtype=np.int64) for sequence in sequences]
    vectors = cooccurrence_vectors(sequences, 8, dim, np.random.default_rng(0))
    assert vectors.shape == (8, dim)
    assert np.isfinite(vectors).all()
    assert np.array_equal(vectors, cooccurrence_vectors(sequences, 8, dim, np.random.default_rng(0)))
