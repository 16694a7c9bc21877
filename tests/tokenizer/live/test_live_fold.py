import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.live import LiveSettings, Segment, decode_state, encode_state, fold_item
from sidestream.tokenizer.live.state import HOUR_MS
from tests.tokenizer.live.live_toys import DIM, ToyCodebooks, listeners, play, take, talk, words

CODEBOOKS = {"0123456789ab": ToyCodebooks()}
TWO = {"0123456789ab": ToyCodebooks(), "ba9876543210": ToyCodebooks("ba9876543210", seed=2)}
LIVE = LiveSettings()
(V,) = CODEBOOKS


def start(text="0 a stream", codebooks=CODEBOOKS):
    return take(None, (0, text), codebooks, LIVE).state


segments = st.builds(
    lambda topic, number, late, at: Segment(0, at, number * 5_000, number * 5_000 + late, f"{topic} {number}"),
    st.integers(0, 7),
    st.integers(0, 40),
    st.integers(1, 9_000),
    st.integers(0, 300_000),
)
# As in production: a later state of a sum weighs no less than the decayed earlier one.
sums = st.builds(
    lambda text, partition, since, more: listeners(
        f"{text} fans", 0.5 + more, partition=partition, since=since, offset=since + more, at=200_000 * (since + more)
    ),
    st.integers(0, 7),
    st.integers(0, 3),
    st.sampled_from([0, 5, 30]),
    st.integers(0, 20),
)
events = st.builds(lambda text: (0, f"{text} title"), st.integers(0, 7))


def numbered(records):
    """Give segments and catalogue events the offsets of their own logs."""
    numbers, placed = {"segment": 0, "item": 0}, []
    for record in records:
        if isinstance(record, Segment):
            placed.append(Segment(numbers["segment"], record.at, record.start_ms, record.end_ms, record.text))
            numbers["segment"] += 1
        elif isinstance(record, tuple):
            numbers["item"] += 1
            placed.append((numbers["item"], record[1]))
        else:
            placed.append(record)
    return placed


@settings(max_examples=25, deadline=None)
@given(st.lists(segments | sums | events, min_size=1, max_size=25), st.data())
def test_a_restart_anywhere_and_a_replay_from_anywhere_before_change_no_byte(records, data):
    records = numbered(records)
    whole = play(records, CODEBOOKS, LIVE, start())
    assert encode_state(play(records, CODEBOOKS, LIVE, start(), through_bytes=True)[-1].state) == encode_state(
        whole[-1].state
    )
    stop = data.draw(st.integers(0, len(records) - 1))
    again = data.draw(st.integers(0, stop))
    # Killed after `stop`, with the records from `again` on not committed: they come once more.
    state = decode_state(encode_state(whole[stop].state))
    repeated = play(records[again : stop + 1], CODEBOOKS, LIVE, state)
    resumed = play(records[stop + 1 :], CODEBOOKS, LIVE, repeated[-1].state)
    assert encode_state((resumed or repeated)[-1].state) == encode_state(whole[-1].state)
    assert [step.changed for step in resumed] == [step.changed for step in whole[stop + 1 :]]


@settings(max_examples=25, deadline=None)
@given(st.lists(sums, min_size=1, max_size=12), st.integers(0, 9))
def test_sums_of_listeners_are_merged_in_any_order(records, seed):
    newest = {}
    for one in records:  # a sum has one state per offset
        newest.setdefault((one.partition, one.since, one.offset), one)
    records = list(newest.values())
    shuffled = random.Random(seed).sample(records, len(records))
    one, other = (play(order, CODEBOOKS, LIVE, start())[-1].state for order in (records, shuffled))
    assert (one.partials, one.newest_at) == (other.partials, other.newest_at)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)))
def test_a_window_is_what_ended_last_however_late_it_came(order):
    talks = [talk(number % 3, number) for number in range(12)]
    in_order = play(talks, CODEBOOKS, LIVE, start())[-1].state
    shuffled = [Segment(place, 60_000, *_span(talks[number])) for place, number in enumerate(order)]
    state = play(shuffled, CODEBOOKS, LIVE, start())[-1].state
    assert [(s.end_ms, s.text) for s in state.spans] == [(s.end_ms, s.text) for s in in_order.spans]
    assert state.views[V].long_term.mean() == pytest.approx(in_order.views[V].long_term.mean(), abs=1e-5)


def _span(segment):
    return segment.start_ms, segment.end_ms, segment.text


def test_the_window_holds_what_ended_in_its_last_seconds():
    state = play([talk(0, number) for number in range(30)], CODEBOOKS, LIVE, start())[-1].state
    assert [span.end_ms for span in state.spans] == [125_000, 130_000, 135_000, 140_000, 145_000, 150_000]
    assert set(state.views[V].window) == {24, 25, 26, 27, 28, 29}


def test_a_long_memory_halves_after_its_half_life():
    narrow = LiveSettings(long_half_life_s=5.0)
    steps = play([talk(0, 0), talk(1, 1)], CODEBOOKS, narrow, start())
    first, second = (step.state.views[V].long_term for step in steps)
    assert first.weight == 5_000
    assert second.weight == 5_000 + 2_500


def test_another_topic_takes_over_within_a_window_and_once():
    steps = play([talk(0, n) for n in range(60)] + [talk(5, n) for n in range(60, 120)], CODEBOOKS, LIVE, start())
    changed = [n for n, step in enumerate(steps) if step.changed]
    assert changed
    assert 60 <= changed[0] <= 66  # 30 s are six segments
    assert len(changed) <= 3
    assert steps[-1].state.views[V].sid == (5,)
    assert steps[-1].state.revision == len(changed) == steps[-1].state.num_changes


def test_a_steady_stream_keeps_its_sid():
    steps = play([talk(3, number) for number in range(200)], CODEBOOKS, LIVE, start("3 a stream"))
    assert not any(step.changed for step in steps)
    assert steps[-1].state.views[V].sid == (3,)


def test_a_nearer_sid_takes_over_once_the_item_has_moved_or_when_it_held():
    talks = [talk(0, n) for n in range(12)] + [talk(1, n) for n in range(12, 60)]

    def first_change(**choice):
        steps = play(talks, CODEBOOKS, LiveSettings(long_weight=0, **choice), start())
        return next((n for n, step in enumerate(steps) if step.changed), None)

    at_once = first_change(move=0)
    held = first_change(move=2, hold_windows=2)
    assert 12 <= at_once < held
    assert held - at_once == 12  # two windows of six segments
    assert at_once < first_change(move=0.5) < held
    assert first_change(move=2) is None


def test_what_took_over_in_the_middle_of_a_change_is_looked_at_once_more():
    talks = [talk(0, n) for n in range(12)] + [talk(1, n) for n in range(12, 40)]
    between = ToyCodebooks()
    between.points = np.concatenate([np.eye(DIM), (np.eye(DIM)[:1] + np.eye(DIM)[1:2]) / np.sqrt(2)])
    steps = play(talks, {V: between}, LiveSettings(move=0.35, own_weight=0, long_weight=0), start())
    changed = [n for n, step in enumerate(steps) if step.changed]
    assert steps[changed[0]].state.views[V].sid == (DIM,)
    assert len(changed) == 2
    assert changed[1] - changed[0] == 6  # one window
    assert steps[-1].state.views[V].sid == (1,)


def test_listeners_pull_by_their_number_and_fade():
    state = start()
    crowd = [listeners("6 fans", 500.0, since=1, offset=1, at=1_000)]
    loud = LiveSettings(own_weight=0.2, listener_weight=0.8)
    assert play(crowd, CODEBOOKS, loud, state)[-1].state.views[V].sid == (6,)
    few = [listeners("6 fans", 1.0, since=1, offset=1, at=1_000)]
    assert play(few, CODEBOOKS, loud, state)[-1].state.views[V].sid == (0,)
    gone = play([*few, listeners("2 fans", 1.0, since=9, offset=9, at=3_000_000)], CODEBOOKS, loud, state)[-1].state
    assert [one.since for one in gone.partials] == [9]


def test_a_newer_sum_replaces_the_older_one_and_another_hand_adds_to_it():
    first = listeners("1 fans", 5.0, since=3, offset=3)
    second = listeners("1 fans", 9.0, since=3, offset=7)
    other = listeners("1 fans", 2.0, since=8, offset=8)
    steps = play([second, first, other], CODEBOOKS, LIVE, start())
    assert [step.is_new for step in steps] == [True, False, True]
    assert [(one.since, one.offset) for one in steps[-1].state.partials] == [(3, 7), (8, 8)]


def test_a_stream_whose_clock_restarts_gets_a_new_window():
    before = play([talk(0, number) for number in range(50)], CODEBOOKS, LIVE, start())[-1].state
    first = Segment(50, before.segment_at + 5_000, 0, 5_000, "4 again from the start")
    late = Segment(51, before.segment_at - 60_000, 0, 5_000, "4 late")
    assert [span.text for span in play([first], CODEBOOKS, LIVE, before)[-1].state.spans] == ["4 again from the start"]
    assert play([late], CODEBOOKS, LIVE, before)[-1].state.spans == before.spans


def test_a_catalogue_event_keeps_window_and_sid_and_resets_the_revisions():
    steps = play([talk(4, number) for number in range(30)], CODEBOOKS, LIVE, start())
    live = steps[-1].state
    assert live.revision > 0
    renamed = take(live, (7, "0 another title"), CODEBOOKS, LIVE).state
    assert (renamed.source_offset, renamed.revision, renamed.spans) == (7, 0, live.spans)
    assert renamed.views[V].sid == live.views[V].sid
    assert not take(renamed, (7, "0 another title"), CODEBOOKS, LIVE).is_new
    assert not take(renamed, (6, "0 older"), CODEBOOKS, LIVE).is_new


def test_before_its_first_segment_an_item_is_what_its_words_say():
    renamed = take(start("2 a title"), (1, "6 another"), CODEBOOKS, LIVE)
    assert renamed.state.views[V] == take(None, (1, "6 another"), CODEBOOKS, LIVE).state.views[V]
    assert renamed.changed == (V,)


def test_a_tokenizer_that_comes_later_sees_the_window_and_one_that_goes_is_forgotten():
    live = play([talk(4, number) for number in range(30)], CODEBOOKS, LIVE, start())[-1].state
    both = take(live, (0, "0 a stream"), TWO, LIVE)
    assert both.is_new
    assert both.state.revision == live.revision + 1
    newcomer = TWO["ba9876543210"]
    newcomer.encoded.clear()
    state = play([talk(4, 30)], TWO, LIVE, both.state)[-1].state
    assert set(state.views["ba9876543210"].window) == set(state.views[V].window) == {25, 26, 27, 28, 29, 30}
    assert len(newcomer.encoded) == 6
    alone = {"ba9876543210": TWO["ba9876543210"]}
    assert set(take(state, (1, "0 a stream"), alone, LIVE).state.views) == {"ba9876543210"}


def test_the_view_of_an_unloaded_tokenizer_is_unchanged():
    live = play([talk(4, number) for number in range(9)], TWO, LIVE, start(codebooks=TWO))[-1].state
    after = play([talk(1, number) for number in range(9, 40)], CODEBOOKS, LIVE, live)[-1].state
    assert after.views["ba9876543210"] == live.views["ba9876543210"]
    assert after.views[V].sid != live.views[V].sid


def test_only_the_last_hours_changes_count():
    talks = [talk(number // 60 % 2 * 5, number) for number in range(1_500)]
    state = play(talks, CODEBOOKS, LIVE, start())[-1].state
    assert state.num_changes > len(state.changed_at) > 0
    assert min(state.changed_at) > state.newest_at - HOUR_MS - 60_000
    assert 0 < state.changes_last_hour(state.newest_at) <= len(state.changed_at)
    assert state.changes_last_hour(state.newest_at + HOUR_MS) == 0


def test_a_state_of_another_layout_or_cut_short_is_refused():
    value = encode_state(start())
    with pytest.raises(TokenizerError, match="layout version 1, got 02"):
        decode_state(b"\x02" + value[1:])
    with pytest.raises(TokenizerError, match="cannot be decoded"):
        decode_state(value[:-3])


def test_words_that_cancel_fall_back_to_the_items_own():
    state = fold_item(None, b"", 0, {V: words("1 a", CODEBOOKS[V])}, CODEBOOKS, LIVE).state
    silent = LiveSettings(own_weight=0, long_weight=0, listener_weight=0)
    assert take(state, listeners("6 f", 100.0), CODEBOOKS, silent).state.views[V].sid == (1,)
