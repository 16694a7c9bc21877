"""Metrics by hand, the two columns, and the written report."""

import json
import math

import numpy as np
import pytest

from sidestream.models.errors import DataError
from sidestream.models.evaluation import Cases, evaluate_rankers, footer, ndcg_at, recall_at, report, table, target_rank


class Fixed:
    """Ranks items in index order."""

    def __init__(self, size):
        self._size = size

    def rank(self, history, num_items, exclude_seen, is_liked=None):
        items = np.arange(self._size, dtype=np.int32)
        return (items[~np.isin(items, history)] if exclude_seen else items)[:num_items]


def test_metrics_match_hand_computation():
    ranks = np.array([0, 2, 9, 10, -1], np.int32)

    recall = recall_at(ranks, 10)
    assert recall.value == pytest.approx(3 / 5)
    assert recall.standard_error == pytest.approx(math.sqrt(0.6 * 0.4 / 4))
    assert ndcg_at(ranks, 10).value == pytest.approx((1 + 1 / 2 + 1 / math.log2(11)) / 5)
    assert recall_at(ranks, 30).value == pytest.approx(4 / 5)


def test_metrics_without_cases_are_zero():
    assert recall_at(np.empty(0, np.int32), 10).value == 0.0
    assert ndcg_at(np.array([0], np.int32), 10).standard_error == 0.0


def test_target_rank_is_the_place_in_the_list():
    assert target_rank(np.array([4, 7, 2], np.int32), 2) == 2
    assert target_rank(np.array([4, 7, 2], np.int32), 3) == -1


def test_columns_differ_where_seen_items_stand_before_the_target():
    cases = Cases([np.arange(5, dtype=np.int32), np.array([3], np.int32)], np.array([12, 3], np.int32))
    scores = evaluate_rankers({"fixed": Fixed(40)}, cases)["fixed"]

    assert scores.metrics["plain"]["recall_at_10"].value == 0.5
    # Without its five seen items the first target moves up to place 7; the second one is itself a seen item.
    assert scores.metrics["seen_excluded"]["recall_at_10"].value == 0.5
    assert scores.metrics["seen_excluded"]["ndcg_at_10"].value == pytest.approx(1 / math.log2(9) / 2)
    assert (scores.num_listeners, scores.num_repeats) == (2, 1)


def test_report_is_json_and_lays_out_as_a_table():
    steps = []
    cases = Cases([np.array([1], np.int32)] * 3, np.array([0, 2, 39], np.int32))
    written = report(evaluate_rankers({"fixed": Fixed(40)}, cases, lambda *step: steps.append(step)))

    assert json.loads(json.dumps(written)) == written
    heads, rows = table(written)
    assert heads == ["ranker", "R@10", "R@30", "N@10", "R@10 x", "R@30 x", "N@10 x"]
    assert rows[0][:2] == ["fixed", "0.6667 ±0.3333"]
    assert steps[-1] == ("fixed", 6, 6)


def test_the_footer_explains_the_columns_and_counts_what_x_can_never_find():
    cases = Cases([np.array([1], np.int32)] * 3, np.array([0, 1, 39], np.int32))
    written = report(evaluate_rankers({"fixed": Fixed(40)}, cases))
    text = footer(written)
    assert text.startswith("3 listeners, one held-out item each")
    assert "columns with x leave out the items of the listener's history, the others nothing" in text
    assert "held-out items that are in that history, which x can never find: 1 of 3;" in text


def test_cases_need_one_target_for_each_history():
    with pytest.raises(DataError, match="2 histories but 1 held-out"):
        Cases([np.empty(0, np.int32)] * 2, np.zeros(1, np.int32))


def test_rankers_get_the_marks_of_their_history():
    class Watching(Fixed):
        def rank(self, history, num_items, exclude_seen, is_liked=None):
            seen.append((history.tolist(), None if is_liked is None else is_liked.tolist()))
            return super().rank(history, num_items, exclude_seen)

    seen = []
    histories = [np.array([1, 2], np.int32), np.array([3], np.int32)]
    marks = [np.array([True, False]), np.array([False])]
    cases = Cases(histories, np.array([5, 6], np.int32), marks)
    evaluate_rankers({"watching": Watching(10)}, cases.sample(1, np.random.default_rng(1)))
    evaluate_rankers({"watching": Watching(10)}, Cases(histories, np.array([5, 6], np.int32)))
    asked = {tuple(history): mark for history, mark in seen if mark is not None}
    assert len(asked) == 1
    assert asked.items() <= {(1, 2): [True, False], (3,): [False]}.items()
    assert sum(mark is None for _, mark in seen) == 4


def test_marks_that_do_not_fit_the_histories_are_refused():
    with pytest.raises(DataError, match="one mark in is_liked for each listen"):
        Cases([np.array([1, 2], np.int32)], np.array([5], np.int32), [np.array([True])])


def test_sample_keeps_history_and_target_together():
    cases = Cases([np.array([index], np.int32) for index in range(20)], np.arange(20, dtype=np.int32))
    sample = cases.sample(7, np.random.default_rng(1))

    assert [int(history[0]) for history in sample.histories] == sample.targets.tolist()
    assert len(set(sample.targets.tolist())) == 7
    assert cases.sample(20, np.random.default_rng(1)) is cases
