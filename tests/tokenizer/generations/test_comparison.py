"""The comparison of two versions: matched counts, residuals, churn, and the alignment map."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.generations import VersionOnItems, compare
from sidestream.tokenizer.generations.churn import measure_churn
from sidestream.tokenizer.generations.comparison import coarsen, matched_cosine, residual_shares
from sidestream.tokenizer.levels import fit_levels
from sidestream.tokenizer.settings import TokenizerSettings

OLD, NEW = "0123456789ab", "ba9876543210"
SIDS = arrays.arrays(np.int32, st.tuples(st.integers(1, 40), st.integers(2, 4)), elements=st.integers(0, 3))


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(4)
    points = rng.standard_normal((20, 12))[rng.integers(0, 20, 900)] + 0.5 * rng.standard_normal((900, 12))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def version(name, vectors, size, seed=0):
    settings = TokenizerSettings(codebook_sizes=(size,) * 3)
    levels = fit_levels(vectors, settings, np.random.default_rng(seed))
    return VersionOnItems(name, levels, levels.encode(vectors), vectors)


@given(SIDS, st.integers(1, 40), st.integers(0, 9))
def test_coarse_sids_are_prefixes_as_many_as_asked(codes, asked, seed):
    coarse = coarsen(codes, asked, np.random.default_rng(seed))
    kept = (coarse >= 0).sum(axis=1)
    for row, length in enumerate(kept):
        assert length >= 1
        assert coarse[row].tolist() == codes[row, :length].tolist() + [-1] * (codes.shape[1] - length)
    before, after = (len(np.unique(sids, axis=0)) for sids in (codes, coarse))
    most_children = 4
    least = len(np.unique(codes[:, 0]))
    assert after == before if before <= asked else max(least, asked) >= after > max(least, asked) - most_children


def test_levels_of_one_kind_tie_at_matched_counts_though_the_finer_leads_by_far(vectors):
    coarse, fine = version(OLD, vectors, 6), version(NEW, vectors, 14)
    compared, _ = compare(coarse, fine, vectors, np.random.default_rng(0))
    assert compared.matched_sids == compared.old.codes.distinct_sids < compared.new.codes.distinct_sids
    assert compared.old.matched_cosine == compared.old.codes.bucket_cosine
    assert compared.new.codes.bucket_cosine > compared.old.codes.bucket_cosine + 0.05
    assert abs(compared.new.matched_cosine - compared.old.matched_cosine) < 0.03


def test_random_codes_lose_at_matched_counts(vectors):
    fitted = version(OLD, vectors, 6)
    random = np.random.default_rng(1).integers(0, 30, fitted.codes.shape).astype(np.int32)
    count = len(np.unique(fitted.codes, axis=0))
    assert len(np.unique(random, axis=0)) > count
    chance = matched_cosine(vectors, random, count, np.random.default_rng(0))
    assert chance < 0.1 < fitted_cosine(fitted, vectors) - 0.3


def fitted_cosine(fitted, vectors):
    return matched_cosine(vectors, fitted.codes, 1 << 30, np.random.default_rng(0))


def test_no_shared_sid_has_no_cosine():
    codes = np.arange(6, dtype=np.int32).reshape(3, 2)
    assert matched_cosine(np.eye(3), codes, 3, np.random.default_rng(0)) is None


def test_more_codes_leave_less_over(vectors):
    one = version(OLD, vectors, 8)
    by_prefix = residual_shares(one.levels, one.codes, vectors)
    assert 1.0 > by_prefix[0] > by_prefix[1] > by_prefix[2] > 0.0
    by_hand = ((vectors - one.levels.decode(one.codes)) ** 2).sum() / ((vectors - vectors.mean(axis=0)) ** 2).sum()
    assert by_prefix[2] == pytest.approx(by_hand, abs=1e-3)


def test_the_same_version_under_new_names_is_no_churn(vectors):
    one = version(OLD, vectors, 8)
    renamed = dataclasses.replace(one, version=NEW, codes=(one.codes + 3) % 8)
    compared, alignment = compare(one, renamed, vectors, np.random.default_rng(0))
    assert (compared.churn.bucket_mates_changed, compared.churn.neighbours_changed) == (0.0, 0.0)
    assert compared.churn.prefix_mates_kept == (1.0, 1.0, 1.0)
    assert np.array_equal(alignment.translate(one.codes), renamed.codes)
    assert compared.agreement == alignment.agreement
    assert json.loads(json.dumps(dataclasses.asdict(compared)))["new"]["version"] == NEW


def test_churn_counts_items_with_different_bucket_mates():
    old = np.array([[0, 0], [0, 0], [0, 1], [1, 0], [1, 0]], np.int32)
    new = np.array([[5, 5], [5, 6], [5, 7], [2, 2], [2, 2]], np.int32)
    points = np.eye(5)
    churn = measure_churn(old, new, points, points, np.random.default_rng(0))
    # The first two are torn apart; the third was and is alone; the last two stay together.
    assert churn.bucket_mates_changed == pytest.approx(2 / 5)
    assert churn.prefix_mates_kept == (1.0, pytest.approx(3 / 5))


def test_churn_counts_neighbours_that_are_others(vectors):
    codes = np.zeros((len(vectors), 1), np.int32)
    other = np.random.default_rng(8).standard_normal(vectors.shape)
    churn = measure_churn(codes, codes, vectors, other, np.random.default_rng(0))
    assert (churn.bucket_mates_changed, churn.neighbours, churn.num_asked) == (0.0, 10, 900)
    assert churn.neighbours_changed > 0.9


def test_one_item_can_be_compared():
    one = np.array([[0.6, 0.8]], np.float32)
    old = version(OLD, one, 2)
    compared, _ = compare(old, old, one, np.random.default_rng(0))
    assert (compared.matched_sids, compared.churn.neighbours_changed) == (1, 0.0)


def test_versions_of_other_catalogues_are_refused(vectors):
    one, less = version(OLD, vectors, 8), version(NEW, vectors[1:], 8)
    with pytest.raises(TokenizerError, match="got 900, 899 and 900"):
        compare(one, less, vectors, np.random.default_rng(0))
