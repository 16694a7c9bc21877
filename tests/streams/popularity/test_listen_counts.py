"""Sums of listens: which count, and that they do not depend on how the log is divided."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.history import SIGNALS
from sidestream.models.records.signals import is_positive
from sidestream.streams.popularity import listen_counts
from sidestream.streams.popularity.listen_counts import ListenCounts
from sidestream.tokenizer.sid import item_key
from tests.streams.popularity.counted_log import DECAY, as_dict, expected, listen, logs


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_listen_counts_once_if_its_signal_is_positive(signal):
    counts = ListenCounts(DECAY)
    counts.add([listen(1, 5), listen(2, 5, signal)])
    wanted = {item_key("item-1")} | ({item_key("item-2")} if is_positive(signal) else set())
    assert set(as_dict(counts.sums())) == wanted
    assert len(set(as_dict(counts.sums()).values())) == 1
    assert counts.num_listens == len(wanted)


def test_skips_and_dislikes_do_not_count():
    counts = ListenCounts(DECAY)
    counts.add([listen(n, 0, s) for n, s in enumerate(("listen", "skip", "dislike", "share"))])
    assert sorted(counts.sums().keys.tolist()) == sorted(item_key(f"item-{n}") for n in (0, 3))


@given(logs, st.lists(st.integers(0, 80), max_size=5), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_sums_do_not_depend_on_the_division_of_the_log(log, cuts, max_fresh):
    listen_counts._MAX_FRESH, before = max_fresh, listen_counts._MAX_FRESH
    counts, start = ListenCounts(DECAY), 0
    try:
        for cut in [*sorted(cuts), len(log)]:
            counts.add(log[start:cut])
            start = max(start, cut)
            counts.sums()
    finally:
        listen_counts._MAX_FRESH = before
    merged = ListenCounts(DECAY)
    merged.merge([counts.sums()], counts.num_listens)
    assert as_dict(merged.sums()) == as_dict(expected(log))
    assert merged.num_listens == sum(is_positive(one.signal) for one in log)
