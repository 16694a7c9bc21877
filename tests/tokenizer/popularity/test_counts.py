"""Decayed counts: exact sums in any order and grouping, and halving weights."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.popularity import Counts, Decay, merge_counts
from sidestream.tokenizer.popularity.counts import STEPS

DECAY = Decay(160)
STEP_MS = 10

listens = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 20 * STEPS)), max_size=60)


def counted(some):
    """One count for each listen: what no grouping can differ from."""
    return [Counts.from_step(step, np.array([key], np.uint64), np.array([1])) for key, step in some]


def exact(counts):
    """The sums as fractions of a listen at time 0."""
    return {
        int(key): Fraction(float(weight)) * Fraction(2) ** counts.landmark
        for key, weight in zip(counts.keys, counts.weights, strict=True)
    }


def true_sums(some):
    """The same from the definition, in whole numbers."""
    sums = {}
    for key, step in some:
        weight = Fraction(round(2 ** (step % STEPS / STEPS) * 256), 256) * 2 ** (step // STEPS)
        sums[key] = sums.get(key, 0) + weight
    return sums


@given(listens, st.randoms(use_true_random=False), st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_sums_are_exact_in_every_order_and_grouping(some, random, size):
    expected = true_sums(some)
    shuffled = list(some)
    random.shuffle(shuffled)
    groups = [merge_counts(counted(shuffled[first : first + size])) for first in range(0, len(shuffled), size)]
    random.shuffle(groups)
    for counts in (
        merge_counts(counted(some)),
        merge_counts(groups),
        merge_counts([merge_counts(groups[:2]), *groups[2:]]),
    ):
        assert exact(counts) == expected
        assert (np.diff(counts.keys.astype(np.int64)) > 0).all()


def test_a_listen_counts_half_after_a_half_life():
    (one,) = counted([(1, 5 * STEPS)])
    at = DECAY.at(5)
    assert at == 5 * STEPS * STEP_MS
    now = [one.weights[0] * DECAY.factor(one.landmark, at + age) for age in (0, 160, 320, 80)]
    assert now == pytest.approx([1, 1 / 2, 1 / 4, 2**-0.5])


def test_order_of_two_items_does_not_change_with_time_alone():
    counts = merge_counts(counted([(1, 3), (1, 4), (2, 30), (3, 31)]))
    for now_ms in (310, 1_000, 50_000):
        now = counts.weights * DECAY.factor(counts.landmark, now_ms)
        assert np.argsort(now).tolist() == np.argsort(counts.weights).tolist()


def test_very_old_listens_fade_without_a_warning():
    counts = merge_counts(counted([(1, 0), (2, 5_000 * STEPS)]))
    assert counts.weights.tolist() == [0.0, 1.0]
    assert DECAY.factor(0, 10**13) >= 0


def test_light_items_are_left_out():
    counts = merge_counts(counted([(1, 0), (2, 10 * STEPS), (3, 4 * STEPS)])).without_below(2.0**-6, 10)
    assert counts.keys.tolist() == [2, 3]
    assert counts.landmark == 10
    assert counts.weights.tolist() == [1.0, 2.0**-6]


def test_a_range_of_keys_has_both_its_ends():
    counts = merge_counts(counted([(key, 1) for key in (0, 3, 4, 2**64 - 1)]))
    assert counts.between(3, 2**64 - 1).keys.tolist() == [3, 4, 2**64 - 1]
    assert counts.between(1, 2).keys.tolist() == []
