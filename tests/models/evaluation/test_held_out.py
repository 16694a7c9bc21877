"""Test cases of a folder's split, and figures of a summary."""

import numpy as np

from sidestream.models.data import Sequences
from sidestream.models.evaluation import evaluate_rankers, report
from sidestream.models.evaluation.run import HEADLINE_COLUMN, baselines, headline, held_out_cases


def sequences():
    lists = [[0, 1, 2, 3], [1, 2], [], [2, 0]]
    return Sequences(
        item_ids=("a", "b", "c", "d", "e"),
        user_ids=("u0", "u1", "u2", "u3"),
        train=[np.array(items[:-1], np.int32) for items in lists],
        history=[np.array(items, np.int32) for items in lists],
        is_liked=[np.ones(len(items), np.bool_) for items in lists],
        valid=np.array([3, 2, -1, -1], np.int32),
        test=np.array([4, 0, 1, -1], np.int32),
    )


def test_test_input_holds_the_validation_item_and_validation_input_does_not():
    valid, test = held_out_cases(sequences(), "valid"), held_out_cases(sequences(), "test")

    assert [history.tolist() for history in valid.histories] == [[0, 1, 2], [1]]
    assert valid.targets.tolist() == [3, 2]
    # u2 has no listen at all, u3 no held-out item.
    assert [history.tolist() for history in test.histories] == [[0, 1, 2, 3], [1, 2]]
    assert test.targets.tolist() == [4, 0]


def test_baselines_learn_from_the_training_part_alone():
    listed = baselines(sequences())["popularity"].rank(np.empty(0, np.int32), 5, False)
    assert listed.tolist() == [1, 2, 0], "item 3 occurs as a validation item only"


def test_headline_names_recall_with_seen_items_excluded():
    rankers = baselines(sequences())
    cases = held_out_cases(sequences(), "test")
    written = report(evaluate_rankers({"generator": rankers["popularity"], **rankers}, cases))
    figures = headline(written)

    assert HEADLINE_COLUMN == "seen_excluded"
    assert "recalls outside of `rankers` are those of `seen_excluded`" in written["protocol"]
    assert figures["recall_at_10"] == figures["popularity_recall_at_10"] == 0.5
    assert set(figures) == {f"{name}recall_at_{k}" for name in ("", "popularity_", "item_knn_") for k in (10, 30)}
