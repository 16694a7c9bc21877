"""Initial item vectors: equal length, zero without evidence, similar for co-listened items."""

import numpy as np

from sidestream.models.training.item_vectors import initial_item_vectors


def start(norm=2.0, seed=0):
    together = [np.array([0, 1, 2] * 3, np.int32), np.array([3, 4, 5] * 3, np.int32)]
    return initial_item_vectors([*together, np.array([6], np.int32)], 8, 4, norm, 10, np.random.default_rng(seed))


def test_initial_item_vectors_have_one_length_and_are_zero_without_neighbours():
    lengths = np.linalg.norm(start(), axis=1)
    np.testing.assert_allclose(lengths, [2.0] * 6 + [0.0, 0.0], atol=1e-5)
    assert start().dtype == np.float32


def test_items_heard_together_start_together():
    vectors = start(norm=1.0)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[3] + 0.2


def test_norm_of_zero_starts_at_zero():
    assert not start(norm=0.0).any()
