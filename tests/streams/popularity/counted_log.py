"""A log of listens, and what counting it one listen at a time makes of it."""

import numpy as np
from hypothesis import strategies as st

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import SIGNALS
from sidestream.models.records.signals import is_positive
from sidestream.tokenizer.popularity import Counts, Decay, merge_counts
from sidestream.tokenizer.sid import item_key

DECAY = Decay(16_000)


def listen(item, at, signal="listen"):
    return ListenRow("e", "u", f"item-{item}", at, signal=signal)


def expected(log):
    parts = [
        Counts.from_step(one.at // DECAY.step_ms, np.array([item_key(one.item_id)], np.uint64), np.array([1]))
        for one in log
        if is_positive(one.signal)
    ]
    return merge_counts(parts)


def as_dict(counts, landmark=0):
    return dict(zip(counts.keys.tolist(), counts.scaled_to(landmark).tolist(), strict=True))


logs = st.lists(
    st.builds(listen, st.integers(0, 40), st.integers(0, 60_000), st.sampled_from(["listen", *SIGNALS])),
    max_size=80,
)
