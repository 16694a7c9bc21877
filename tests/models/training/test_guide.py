"""The guide weights that rank validation items best are chosen; ties keep the preferred pair."""

import numpy as np

from sidestream.models.evaluation import Cases
from sidestream.models.training.guide import choose_guide

PAIRS = [(0.25, 2.0), (0.5, 2.0), (1.0, 2.0)]


class Places:
    """Lists the target 0 at a fixed place."""

    def __init__(self, place):
        self._place = place

    def rank(self, history, num_items, exclude_seen, is_liked=None):
        listed = np.arange(1, num_items + 1, dtype=np.int32)
        listed[self._place] = 0
        return listed


def test_choose_guide_takes_the_best_pair():
    cases = Cases([np.array([5], np.int32)] * 3, np.zeros(3, np.int32))
    places = {0.25: 4, 0.5: 1, 1.0: 9}
    asked = []
    trials = choose_guide(PAIRS, lambda gamma, beta: Places(places[gamma]), cases, asked.append)

    assert [trial.gamma for trial in trials] == [0.5, 0.25, 1.0]
    assert sum(asked) == 3 * 2 * len(PAIRS)


def test_choose_guide_keeps_the_first_pair_without_cases():
    no_cases = Cases([], np.empty(0, np.int32))
    assert choose_guide(PAIRS, lambda gamma, beta: Places(0), no_cases, lambda step: None)[0].gamma == 0.25
