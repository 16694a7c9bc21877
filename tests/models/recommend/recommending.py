"""A catalogue with one line per item, a fake engine with a given ranking, and a recommender that uses both."""

import numpy as np

from sidestream.models.engine import EngineResult
from sidestream.models.history.fold import fold
from sidestream.models.recommend import Recommender, RecommendSettings
from sidestream.models.records import Listen, SessionStart
from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts

VERSION = "0123456789ab"
NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
DIM = 8


class Weights:
    """A vectorize whose weights a test sets by item id: 1 = never in training."""

    def __init__(self):
        self.by_id = {}

    def __call__(self, item_ids, codes, x):
        weights = np.array([self.by_id.get(item_id, 1.0) for item_id in item_ids], np.float32)
        return x[:, :DIM].astype(np.float32), weights


class Shelf:
    """A catalogue that tests fill in one line per item."""

    def __init__(self):
        self.weights = Weights()
        self.catalogue = Catalogue(VERSION, (4, 4), DIM, self.weights, x_dim=DIM)
        self.offset = 0

    def put(self, item_id, *, weight=2.0, vector=None, sid=None, **facts):
        self.weights.by_id[item_id] = weight
        vector = np.eye(DIM, dtype=np.int8)[self.offset % DIM] * 100 if vector is None else np.asarray(vector, np.int8)
        sid = ((self.offset // 4) % 4, self.offset % 4) if sid is None else sid
        self.catalogue.apply([CatalogueUpdate(item_id, self.offset, ItemFacts(**facts), sid, vector, 0.01)])
        self.offset += 1
        return self

    def snapshot(self, now_ms=NOW_MS):
        return self.catalogue.snapshot(now_ms=now_ms)


class FakeEngine:
    """Ranks the eligible, not excluded items by row, best first, and remembers what it was asked."""

    def __init__(self, order=None, limit=None, error=None):
        self.order, self.limit, self.error, self.requests = order, limit, error, []

    def recommend(self, request, snapshot):
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        allowed = request.eligibility.item.copy()
        allowed[request.excluded_rows] = False
        rows = np.flatnonzero(allowed).astype(np.int32)
        if self.order is not None:
            ids = snapshot.item_ids(rows)
            rows = np.array([rows[ids.index(i)] for i in self.order if i in ids], np.int32)
        rows = rows[: request.num_candidates if self.limit is None else self.limit]
        scores = np.arange(rows.size, 0, -1).astype(np.float32)
        return EngineResult(rows=rows, scores=scores, log_probs=-1 / (1 + scores), leaves=np.zeros_like(rows))


def listens(*item_ids, signal="listen"):
    return [
        (offset, Listen(event_id=f"e{offset}", user_id="u", item_id=item_id, at=NOW_MS + offset, signal=signal))
        for offset, item_id in enumerate(item_ids)
    ]


def state_of(snapshot, *item_ids, signal="listen"):
    return fold(None, listens(*item_ids, signal=signal), snapshot.stored_sid).state


def start_of(**fields):
    return SessionStart(**{"session_id": "s", "user_id": "u", "at": NOW_MS, "num_candidates": 5, **fields})


def make(engine=None, **fields):
    return Recommender(engine, VERSION, "model-1", RecommendSettings(**{"reserved_new": 0, **fields}))


def ids(candidate_set):
    return [candidate.item_id for candidate in candidate_set.candidates]


def plain_shelf(count=8):
    shelf = Shelf()
    for number in range(count):
        shelf.put(f"i{number}", weight=10.0 - number, creator=f"c{number // 2}")
    return shelf
