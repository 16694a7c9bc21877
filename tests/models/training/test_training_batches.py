"""Batches: every listen is a target with its true inputs, padded on the left, within the size limit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.errors import TrainingError
from sidestream.models.training.sequences import Batches

MAX_LEN = 5
LENGTHS = st.lists(st.integers(0, 23), min_size=1, max_size=12)


def numbered(lengths):
    """Sequences whose items are all different, so that listens can be distinguished."""
    starts = np.cumsum([0, *lengths])
    return [np.arange(start, start + length, dtype=np.int32) for start, length in zip(starts, lengths, strict=False)]


@given(LENGTHS, st.integers(1, 40), st.integers(1, 6), st.integers(0, 3))
def test_batches_hold_every_next_item_after_its_predecessor(lengths, batch_positions, min_batches, seed):
    sequences = numbered(lengths)
    if max(lengths) < 2:
        return
    codes = np.stack([np.arange(sum(lengths)) + 100, np.arange(sum(lengths)) + 200], axis=1).astype(np.int32)
    batches = Batches(sequences, codes, MAX_LEN, batch_positions, min_batches)

    seen = set()
    for batch in batches.epoch(np.random.default_rng(seed)):
        rows, length = batch.items.shape
        assert length <= MAX_LEN
        assert rows == 1 or batch.items.size <= batch_positions
        assert np.all(np.diff(batch.valid.astype(int), axis=1) >= 0), "padding is on the left"
        assert batch.valid[:, -1].all()
        assert np.array_equal(batch.items[batch.valid] + 1, batch.targets[batch.valid])
        assert np.array_equal(batch.codes[batch.valid], codes[batch.items[batch.valid]])
        assert (batch.codes[~batch.valid] == -1).all()
        seen.update(batch.targets[batch.valid].tolist())
    first = {int(sequence[0]) for sequence in sequences if len(sequence)}
    assert seen == set(range(sum(lengths))) - first


@given(LENGTHS, st.integers(0, 3), st.data())
def test_what_was_not_liked_is_read_and_never_asked_for(lengths, seed, data):
    sequences = numbered(lengths)
    liked = [np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_) for n in lengths]
    codes = np.zeros((max(1, sum(lengths)), 2), np.int32)
    wanted = {
        int(items[at]) for items, marks in zip(sequences, liked, strict=True) for at in np.flatnonzero(marks[1:]) + 1
    }
    if not wanted:
        with pytest.raises(TrainingError, match="not skipped or disliked"):
            Batches(sequences, codes, MAX_LEN, 40, 1, liked)
        return
    batches = Batches(sequences, codes, MAX_LEN, 40, 1, liked)
    read, asked = set(), set()
    for batch in batches.epoch(np.random.default_rng(seed)):
        assert batch.asked.any(axis=1).all(), "every window has a target"
        assert batch.valid[batch.asked].all()
        assert np.array_equal(batch.items[batch.valid] + 1, batch.targets[batch.valid])
        read.update(batch.items[batch.valid].tolist())
        asked.update(batch.targets[batch.asked].tolist())
    assert asked == wanted
    assert {item - 1 for item in wanted} <= read


def test_marks_that_are_all_true_change_nothing():
    sequences, codes = numbered([23, 4, 9]), np.zeros((36, 2), np.int32)
    liked = [np.ones(len(items), np.bool_) for items in sequences]
    plain, marked = (
        list(Batches(sequences, codes, MAX_LEN, 20, 1, marks).epoch(np.random.default_rng(2)))
        for marks in (None, liked)
    )
    for one, other in zip(plain, marked, strict=True):
        assert np.array_equal(one.items, other.items)
        assert np.array_equal(one.targets, other.targets)
        assert np.array_equal(one.asked, one.valid)
        assert np.array_equal(other.asked, other.valid)


def test_long_sequences_are_cut_elsewhere_every_epoch():
    batches = Batches(numbered([200]), np.zeros((200, 2), np.int32), 50, 2_048, 1)
    rng = np.random.default_rng(0)
    shapes = {tuple(sorted(batch.items[:, -1].tolist())) for _ in range(6) for batch in batches.epoch(rng)}
    assert len(shapes) > 1


def test_small_data_gets_enough_batches():
    batches = Batches(numbered([6] * 40), np.zeros((240, 3), np.int32), 50, 2_048, 8)
    assert batches.steps_per_epoch() >= 8
    assert batches.steps_per_epoch() == len(list(batches.epoch(np.random.default_rng(1))))


def test_listeners_with_one_listen_alone_are_refused():
    with pytest.raises(TrainingError, match="at least two listens"):
        Batches(numbered([1, 0, 1]), np.zeros((2, 3), np.int32), 50, 2_048, 8)
