import numpy as np

from sidestream.tokenizer.catalogue.newness import is_new

NOW_MS = 1_700_000_000_999
HOUR_S = 3_600


def test_items_are_new_for_some_hours_after_publication():
    now_s = NOW_MS // 1_000
    published = np.array([now_s, now_s - 2 * HOUR_S, now_s - 2 * HOUR_S - 1, now_s + 1], np.uint32)
    assert is_new(published, NOW_MS, 2.0).tolist() == [True, True, False, False]


def test_an_item_of_unknown_publication_is_never_new():
    assert is_new(np.array([0, 1], np.uint32), NOW_MS, 1e9).tolist() == [False, True]
