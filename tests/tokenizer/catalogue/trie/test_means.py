"""Means depend neither on the order of members nor on which sums were kept."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.catalogue.trie import means, sums
from sidestream.tokenizer.catalogue.trie.csr import Splice
from sidestream.tokenizer.catalogue.trie.sums import Nodes

DIM = 4
WEIGHTS = [1.0, 1.5, 7.0, 1e-3, 300.0, 3e5]


@pytest.fixture(autouse=True)
def few_members(monkeypatch):
    """Trigger both ways of summing, several chunks and the limit of kept sums with a dozen members."""
    monkeypatch.setattr(means, "_PICKS_PER_CHUNK", 4)
    monkeypatch.setattr(sums, "_FEW", 3)
    monkeypatch.setattr(means, "_MEMBERS_PER_SUM", 2)
    monkeypatch.setattr(means, "_MIN_MEMBERS", 2)


def source_of(seed, size, weights=WEIGHTS):
    rng = np.random.default_rng(seed)
    return Nodes(
        rng.integers(-127, 128, (size, DIM), dtype=np.int8),
        rng.choice([0.0, 0.01, 0.013, 5.0], size).astype(np.float32),
        rng.choice(weights, size).astype(np.float32),
    )


def laid_out(lists):
    picks = np.array([member for members in lists for member in members], dtype=np.int32)
    return picks, np.cumsum([0, *map(len, lists)], dtype=np.int32)


def merge(source, before, after, kept):
    """Merge from one mapping of range to members to another; what both have alike is not touched."""
    old_keys, new_keys = sorted(before), sorted(after)
    gone_from = [key for key in old_keys if after.get(key) != before[key]]
    touched = [key for key in new_keys if before.get(key) != after[key]]
    dropped = np.array([old_keys.index(key) for key in gone_from], dtype=np.int64)
    places = np.searchsorted(old_keys, touched).astype(np.int64)
    old = np.array([old_keys.index(key) if key in before else -1 for key in touched], dtype=np.int64)
    moves = [(member, -1, key) for key in gone_from for member in set(before[key]) - set(after.get(key, []))]
    moves += [(member, 1, key) for key in touched for member in set(after[key]) - set(before.get(key, []))]
    members = source.take(np.array([member for member, _, _ in moves], dtype=np.int64))
    signs = np.array([sign for _, sign, _ in moves], dtype=np.int64)
    owners = np.array([touched.index(key) if key in touched else -1 for _, _, key in moves], dtype=np.int64)
    picks, offsets = laid_out([after[key] for key in new_keys])
    splice = Splice(len(old_keys), dropped, places)
    found, kept = means.merge_means(source, picks, offsets, kept, splice, old, means.Changed(members, signs, owners))
    return splice.fresh, found, kept


members_st = st.lists(st.integers(0, 29), unique=True, min_size=1, max_size=9)
ranges_st = st.dictionaries(st.integers(0, 5), members_st, min_size=1)


@given(st.lists(ranges_st, min_size=2, max_size=5), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_merged_means_and_sums_equal_those_built_from_scratch(steps, seed):
    source = source_of(seed, 30)
    steps = [{key: sorted(members) for key, members in step.items()} for step in steps]
    _, kept = means.build_means(source, *laid_out([steps[0][key] for key in sorted(steps[0])]))
    for before, after in pairwise(steps):
        fresh, found, kept = merge(source, before, after, kept)
        wanted, _ = means.build_means(source, *laid_out([after[key] for key in sorted(after)]))
        for got, expected in zip(found, wanted.take(fresh), strict=True):
            np.testing.assert_array_equal(got, expected)
        check_kept(kept, source, [after[key] for key in sorted(after)])


def check_kept(kept, source, lists):
    """Kept sums are those of their nodes, few enough, and of no node with few members."""
    counts = np.array([len(members) for members in lists])
    assert (np.diff(kept.nodes) > 0).all()
    assert kept.nodes.size <= counts.sum() // 2
    assert (counts[kept.nodes] >= 2).all()
    for place, node in enumerate(kept.nodes.tolist()):
        picks, offsets = laid_out([lists[node], lists[node]])  # twice, so that the limit allows one
        _, rebuilt = means.build_means(source, picks, offsets)
        for got, expected in zip(kept.sums, rebuilt.sums, strict=True):
            np.testing.assert_array_equal(got[place], expected[0])


@given(st.lists(st.integers(0, 29), unique=True, min_size=1), st.randoms(use_true_random=False), st.integers(0, 99))
@settings(deadline=None)
def test_order_of_members_does_not_matter(members, random, seed):
    source, shuffled = source_of(seed, 30), list(members)
    random.shuffle(shuffled)
    for got, expected in zip(mean_of(source, shuffled), mean_of(source, members), strict=True):
        np.testing.assert_array_equal(got, expected)


def mean_of(source, members):
    return means.means(source, *laid_out([members]), np.zeros(1, dtype=np.int64))


@pytest.mark.parametrize("few", [3, 10**9])
@pytest.mark.parametrize("size", [2, 3, 4, 100, 256])
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_mean_is_right_but_for_its_rounding(few, size, seed):
    source = source_of(seed, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "_FEW", few)
        check_mean(source)


def check_mean(source):
    found = mean_of(source, range(source.masses.size))
    weights, vectors = source.masses.astype(np.float64), source.vectors * source.scales.astype(np.float64)[:, None]
    mean = weights @ vectors / weights.sum()
    # Half a step of the mean, and half a step of each member's weight on either grid.
    rounding = 0.5 * found.scales[0] * (1 + 1e-5)
    rounding += 0.5 * 127 * weights.size * (2**-16 * (weights @ source.scales) + 2**-22) / weights.sum()
    assert np.abs(found.vectors[0] * np.float64(found.scales[0]) - mean).max() <= rounding + 1e-3 * np.abs(mean).max()
    assert found.masses[0] == pytest.approx(weights.sum(), rel=1e-3)


@pytest.mark.parametrize("size", [300, 65_536])
def test_many_equal_members_keep_their_mean(size):
    source = Nodes(
        np.tile(np.array([[127, -127, 64, 0]], dtype=np.int8), (size, 1)),
        np.full(size, 0.01, dtype=np.float32),
        np.full(size, 3.7, dtype=np.float32),
    )
    found = mean_of(source, range(size))
    assert found.vectors.tolist() == [[127, -127, 64, 0]]
    assert found.scales[0] == pytest.approx(0.01, rel=0.005)
    assert found.masses[0] == pytest.approx(3.7 * size, rel=1e-5)


def test_too_large_weights_count_as_the_largest_and_overflow_nothing():
    source = Nodes(
        np.full((5_000, DIM), -127, dtype=np.int8),
        np.full(5_000, 3e5, dtype=np.float32),
        np.full(5_000, 3e30, dtype=np.float32),
    )
    assert mean_of(source, range(5_000)).vectors.tolist() == [[-127] * DIM]


def test_kept_sums_take_few_bytes_a_member(monkeypatch):
    monkeypatch.undo()
    rng, size, dim = np.random.default_rng(0), 20_000, 128
    source = Nodes(rng.integers(-127, 128, (size, dim), dtype=np.int8), *np.full((2, size), 0.5, dtype=np.float32))
    offsets = np.unique(rng.integers(0, size, 600))
    offsets[0], offsets[-1] = 0, size
    _, kept = means.build_means(source, np.arange(size), offsets)
    assert 0 < kept.nodes.size <= size // 80
    assert kept.nbytes / size <= 6.8
