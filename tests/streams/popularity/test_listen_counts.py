"""Sums of listens: which count, and that they do not depend on how the log is divided."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from sidestream.models.history import SIGNALS
from sidestream.models.records.signals import is_positive
from sidestream.models.records.times import LATEST_AT
from sidestream.streams.popularity import listen_counts
from sidestream.streams.popularity.ahead import AheadGuard
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


FUTURE_MS = 600_000
HOUR_MS = 3_600_000


def test_listens_that_are_dated_ahead_of_the_clock_are_left_out_and_told():
    told, now_ms, seconds = [], [5 * HOUR_MS], [0.0]
    guard = AheadGuard(FUTURE_MS, told.append, lambda: now_ms[0], lambda: seconds[0])
    latest = now_ms[0] + FUTURE_MS + HOUR_MS
    counts, sound = ListenCounts(DECAY, guard), [listen(n, latest - n) for n in range(3)]
    wanted = expected(sound)
    with capture_logs() as logs:
        counts.add([*sound, listen(7, latest + 1), listen(8, LATEST_AT), listen(9, LATEST_AT, "skip")])
        counts.add([listen(7, LATEST_AT)])
        seconds[0] = 60.0
        counts.add([listen(7, LATEST_AT)])
    assert as_dict(counts.sums(), wanted.landmark) == as_dict(wanted, wanted.landmark)
    assert (counts.num_listens, told) == (3, [2, 1, 1])
    assert [line["listens"] for line in logs] == [2, 2]
    now_ms[0] += 1
    counts.add([listen(7, latest + 1)])
    assert counts.num_listens == 4


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
