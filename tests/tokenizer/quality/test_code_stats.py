import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.quality.code_stats import measure_codes


def mean_cosine(vectors, keys):
    """Pair by pair: the mean over shared items of their mean cosine with the others on their key."""
    means = []
    for row, key in enumerate(keys):
        others = [other for other, theirs in enumerate(keys) if theirs == key and other != row]
        if others:
            means.append(np.mean([cosine(vectors[row], vectors[other]) for other in others]))
    return np.mean(means) if means else None


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 25), st.integers(1, 3), st.integers(0, 2**32))
def test_the_sheet_equals_counting_by_hand(num_items, num_levels, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, (num_items, num_levels)).astype(np.int32)
    vectors = rng.standard_normal((num_items, 4))
    stats = measure_codes(vectors, codes)
    sids = [tuple(row) for row in codes.tolist()]
    assert stats.distinct_sids == len(set(sids))
    assert stats.largest_bucket == max(sids.count(sid) for sid in sids)
    assert stats.shared_share == pytest.approx(np.mean([sids.count(sid) > 1 for sid in sids]), abs=1e-4)
    expected = [
        mean_cosine(vectors, sids),
        *(mean_cosine(vectors, [s[:n] for s in sids]) for n in range(1, num_levels)),
    ]
    for found, by_hand in zip([stats.bucket_cosine, *stats.prefix_cosine], expected, strict=True):
        assert found is None if by_hand is None else found == pytest.approx(by_hand, abs=1e-4)
    alone = mean_cosine(vectors, [sid[-1] for sid in sids])
    assert stats.last_code_cosine is None if alone is None else stats.last_code_cosine == pytest.approx(alone, abs=1e-4)
    assert stats.codes_used == tuple(len(set(column)) for column in codes.T.tolist())
    assert stats.left_over is None
    half = measure_codes(vectors, codes, vectors / 2)
    assert half.left_over == pytest.approx(0.25)


def test_extremes():
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    together = measure_codes(vectors[:2], np.zeros((2, 2), np.int32))
    assert (together.bucket_cosine, together.shared_share) == (1.0, 1.0)
    assert together.perplexity == (1.0, 1.0)
    apart = measure_codes(vectors, np.array(list(itertools.product((0, 1), repeat=2)), np.int32))
    assert (apart.bucket_cosine, apart.shared_share, apart.distinct_sids) == (None, 0.0, 4)
    assert apart.perplexity == (2.0, 2.0)
    assert measure_codes(np.zeros((2, 3)), np.zeros((2, 1), np.int32)).bucket_cosine == 0.0


@pytest.mark.parametrize(("num_vectors", "num_codes"), [(0, 0), (2, 3)])
def test_items_without_vectors_are_refused(num_vectors, num_codes):
    with pytest.raises(TokenizerError, match="one vector for each"):
        measure_codes(np.zeros((num_vectors, 2)), np.zeros((num_codes, 2), np.int32))
