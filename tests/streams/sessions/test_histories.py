"""Counters of the history entries that the served version can use."""

from types import SimpleNamespace

import numpy as np

from sidestream.models.history import SIGNALS, fold
from sidestream.models.recommend import Recommender
from sidestream.models.records import Listen, SessionStart
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.sessions.histories import count_histories
from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts
from sidestream.tokenizer.generations import VersionCodes, align

AT = 1_700_000_000_000
OLD, NEW, OLDEST = "0123456789ab", "ba9876543210", "cccccccccccc"


def catalogue(version, sids):
    made = Catalogue(version, (8, 8), 2, lambda ids, codes, x: (x, np.ones(len(ids), np.float32)), x_dim=2)
    made.apply([CatalogueUpdate(item_id, 0, ItemFacts(), sid, b"\1\2", 1.0) for item_id, sid in sids.items()])
    return made.snapshot()


def heard(first, *item_ids):
    return [
        (n, Listen(event_id=f"e{n}", user_id="u", item_id=item_id, at=AT + n, signal=SIGNALS[0]))
        for n, item_id in enumerate(item_ids, first)
    ]


def test_entries_are_counted_by_source_of_their_sid():
    state = None
    for first, version, item_ids in ((0, OLDEST, "a"), (1, OLD, "bc"), (3, NEW, "dke")):
        lookup = catalogue(version, {item_id: (1, first + n) for n, item_id in enumerate(item_ids)}).stored_sid
        state = fold(state, heard(first, *item_ids), lookup).state
    versions = (VersionCodes(version, (8, 8), np.array(codes, np.int32)) for version, codes in
                ((OLD, [[1, 1], [1, 2]]), (NEW, [[5, 5], [6, 6]])))  # fmt: skip
    metrics = Metrics()
    count = count_histories(metrics)
    recommender = Recommender(None, NEW, "none", alignments=[align(*versions)], on_history_read=count)
    start = SessionStart(session_id="s", user_id="u", at=AT + 9)
    now = catalogue(NEW, {"k": (3, 3)})
    recommender.recommend(start, state, now, 9)
    counts = {
        outcome: metrics.history_entries.labels(outcome)._value.get()
        for outcome in ("catalogue", "stored", "aligned", "dropped")
    }
    assert counts == {"catalogue": 1, "stored": 2, "aligned": 2, "dropped": 1}
    count(SimpleNamespace(rows=np.array([-1]), aligned=0, dropped=0))
    assert metrics.history_entries.labels("stored")._value.get() == 3
    recommender.recommend(start, None, now, 9)
    assert metrics.history_entries.labels("dropped")._value.get() == 1
