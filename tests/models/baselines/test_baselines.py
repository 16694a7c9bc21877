"""Popularity and item-kNN against their definitions, written out in plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.baselines import ItemKnn, ItemKnnSettings, Popularity, top_items

SIZE = 8
SEQUENCES = st.lists(st.lists(st.integers(0, SIZE - 1), max_size=7), max_size=6)
HISTORY = st.lists(st.integers(0, SIZE - 1), max_size=6)


def arrays(sequences):
    return [np.array(sequence, np.int32) for sequence in sequences]


def knn_scores(sequences, history, settings):
    counts = [max(1, sum(sequence.count(item) for sequence in sequences)) for item in range(SIZE)]
    similarity = np.zeros((SIZE, SIZE))
    for sequence in sequences:
        for early in range(len(sequence)):
            for late in range(early + 1, min(len(sequence), early + settings.max_distance + 1)):
                first, second = sequence[early], sequence[late]
                similarity[first, second] += 1 / (late - early)
                similarity[second, first] += settings.backward_weight / (late - early)
    for first in range(SIZE):
        for second in range(SIZE):
            similarity[first, second] *= (counts[first] * counts[second]) ** -settings.popularity_power
    scores = np.zeros(SIZE)
    for place, item in enumerate(reversed(history), start=1):
        scores += similarity[item] / place
    return scores


@given(SEQUENCES, HISTORY, st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 4), st.booleans())
def test_item_knn_follows_its_definition(sequences, history, backward, max_distance, exclude_seen):
    settings = ItemKnnSettings(backward_weight=backward, max_distance=max_distance)
    listed = ItemKnn(arrays(sequences), SIZE, settings).rank(np.array(history, np.int32), SIZE, exclude_seen)

    scores = knn_scores(sequences, history, settings)
    if exclude_seen:
        scores[history] = 0.0
    assert set(listed.tolist()) == set(np.flatnonzero(scores > 0).tolist())
    # Sums in another order differ in the last bits, so equal neighbours may swap.
    assert np.all(np.diff(scores[listed]) <= 1e-6)


def test_item_knn_recommends_repeats_where_listeners_repeat():
    listed = ItemKnn(arrays([[1, 1, 1, 2]]), 3).rank(np.array([1], np.int32), 3, exclude_seen=False)
    assert listed[0] == 1


@given(SEQUENCES, HISTORY, st.integers(0, SIZE + 2))
def test_popularity_lists_the_most_listened(sequences, history, num_items):
    popularity = Popularity(arrays(sequences), SIZE)
    everything = [item for sequence in sequences for item in sequence]
    expected = sorted(set(everything), key=lambda item: (-everything.count(item), item))

    assert popularity.rank(np.array(history, np.int32), num_items, False).tolist() == expected[:num_items]
    unseen = [item for item in expected if item not in history]
    assert popularity.rank(np.array(history, np.int32), num_items, True).tolist() == unseen[:num_items]


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0]), max_size=12), st.integers(0, 14))
def test_top_items_cuts_ties_by_index(scores, num_items):
    expected = sorted((i for i, score in enumerate(scores) if score > 0), key=lambda i: (-scores[i], i))
    assert top_items(np.array(scores, np.float32), num_items).tolist() == expected[:num_items]


@pytest.mark.parametrize("settings", [{"max_distance": 0}, {"popularity_power": 2.0}, {"unknown": 1}])
def test_item_knn_settings_refuse_nonsense(settings):
    with pytest.raises(ValueError):
        ItemKnnSettings(**settings)
