"""The engine in a service: shared by threads, without torch, and with clear errors."""

import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sidestream.models.engine import Engine, Request, _result
from sidestream.models.errors import EngineError
from sidestream.models.features import Features
from sidestream.models.settings import EngineSettings
from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, Eligibility, ItemFacts
from tests.models.decoding.cases import THREE_LEVELS, TWO_LEVELS, random_features, random_snapshot

pytestmark = pytest.mark.train

ROOT = Path(__file__).parents[3]
NOTHING = np.empty(0, np.int32)


@pytest.fixture
def engine(trained):
    return Engine(trained(THREE_LEVELS).artifact)


@pytest.fixture
def snapshot():
    return random_snapshot(THREE_LEVELS, 50, np.random.default_rng(1), removed=5)


def request_for(snapshot, seed=0, **changes):
    request = Request(random_features(THREE_LEVELS, snapshot, np.random.default_rng(seed)), num_candidates=10)
    return replace(request, **changes)


def test_threads_get_the_answers_that_one_caller_gets(engine, snapshot):
    requests = [request_for(snapshot, seed, beam_size=1 + seed % 20) for seed in range(200)]
    alone = [engine.recommend(request, snapshot) for request in requests]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda request: engine.recommend(request, snapshot), requests))
    for one, other in zip(alone, together, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tobytes() == other.scores.tobytes()


def test_serving_imports_no_torch(trained):
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from sidestream.models.artifact import load_model_artifact\n"
        "from sidestream.models.engine import Engine\n"
        "from cases import THREE_LEVELS, random_snapshot\n"
        "from test_engine_service import request_for\n"
        "snapshot = random_snapshot(THREE_LEVELS, 20, np.random.default_rng(0))\n"
        "engine = Engine(load_model_artifact(Path(sys.argv[1]), 'tok'))\n"
        "assert engine.recommend(request_for(snapshot), snapshot).rows.size == 10\n"
        "found = {'torch', 'onnx', 'onnxscript', 'safetensors'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    subprocess.run(
        [sys.executable, "-c", code, str(trained(THREE_LEVELS).artifact.folder)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_catalogue_inputs_are_views_kept_as_long_as_the_snapshot(engine, snapshot):
    engine.recommend(request_for(snapshot), snapshot)
    feed = engine._catalogue(snapshot)
    assert feed is engine._catalogue(snapshot)
    assert np.shares_memory(feed["item_vectors"], snapshot.item_vectors)
    assert len(engine._catalogues) == 1
    del snapshot, feed
    gc.collect()
    # The fixture's own reference keeps the first one alive; a snapshot made here must go.
    other = random_snapshot(THREE_LEVELS, 3, np.random.default_rng(2))
    engine.recommend(request_for(other), other)
    before = len(engine._catalogues)
    del other
    gc.collect()
    assert len(engine._catalogues) == before - 1


def test_equal_scores_keep_the_order_of_the_catalogue(trained, engine):
    """Twins: the same vector on the same SID, and the same vector on SIDs with equal scores (gamma 0)."""
    vector = np.random.default_rng(0).normal(size=(1, THREE_LEVELS.d_model)).astype(np.float32)

    def vectorize(item_ids, codes, x):
        return np.repeat(vector, len(item_ids), axis=0), np.ones(len(item_ids), np.float32)

    catalogue = Catalogue("tok", THREE_LEVELS.codebook_sizes, THREE_LEVELS.d_model, vectorize, x_dim=8)
    sids = [(3, 1, 2), (1, 4, 0), (3, 1, 2), (1, 4, 0), (0, 0, 8), (3, 1, 2)]
    catalogue.apply([CatalogueUpdate(f"i{n}", n, ItemFacts(), sid, bytes(8), 1.0) for n, sid in enumerate(sids)])
    snapshot = catalogue.snapshot()
    features = Features(NOTHING, np.empty((0, 3), np.int32))
    ranked = engine.recommend(Request(features, 6), snapshot)
    in_bucket = [row for row in ranked.rows.tolist() if sids[row] == (3, 1, 2)]
    assert in_bucket == [0, 2, 5]
    blind = Engine(trained(THREE_LEVELS).artifact, EngineSettings(gamma=0.0, beta=0.0))
    again = blind.recommend(Request(features, 6), snapshot)
    assert again.rows.tolist() == snapshot.bucket_rows.tolist() == [4, 1, 3, 0, 2, 5]


def test_empty_catalogue_gives_an_empty_answer(engine):
    for size, removed in ((0, 0), (4, 4)):
        snapshot = random_snapshot(THREE_LEVELS, size, np.random.default_rng(0), removed=removed)
        result = engine.recommend(request_for(snapshot, want_trace=True), snapshot)
        assert result.rows.size == result.scores.size == result.leaves.size == 0
        assert [step.nodes.size for step in result.trace] == [0, 0, 0]


def test_empty_history_is_answered(engine, snapshot):
    nothing = Features(NOTHING, np.empty((0, 3), np.int32))
    padding = Features(np.full(4, -1, np.int32), np.full((4, 3), -1, np.int32))
    results = [engine.recommend(request_for(snapshot, features=f), snapshot) for f in (nothing, padding)]
    assert results[0].rows.tolist() == results[1].rows.tolist()
    assert results[0].rows.size == 10
    assert np.isfinite(results[0].scores).all()


def test_only_the_latest_listens_are_read(engine, snapshot):
    rows = np.arange(20, dtype=np.int32)
    codes = snapshot.codes_of_rows(rows)
    long = engine.recommend(request_for(snapshot, features=Features(rows, codes)), snapshot)
    latest = engine.recommend(request_for(snapshot, features=Features(rows[-6:], codes[-6:])), snapshot)
    assert long.scores.tolist() == latest.scores.tolist()


def test_item_that_left_the_catalogue_is_still_read_but_never_answered(engine, snapshot):
    gone = np.flatnonzero(~snapshot.row_alive)[:1].astype(np.int32)
    features = Features(gone, snapshot.codes_of_rows(gone))
    with_gone = engine.recommend(request_for(snapshot, features=features, num_candidates=100), snapshot)
    without = engine.recommend(
        request_for(snapshot, features=Features(NOTHING, np.empty((0, 3), np.int32)), num_candidates=100), snapshot
    )
    assert with_gone.scores.tolist() != without.scores.tolist()
    assert snapshot.row_alive[with_gone.rows].all()


def test_nothing_is_answered_where_nothing_is_eligible(engine, snapshot):
    mask = snapshot.eligibility(item_mask=np.zeros(snapshot.num_rows, bool))
    assert engine.recommend(request_for(snapshot, eligibility=mask), snapshot).rows.size == 0
    everything = np.arange(snapshot.num_rows, dtype=np.int32)
    assert engine.recommend(request_for(snapshot, excluded_rows=everything), snapshot).rows.size == 0


def test_pages_made_by_excluding_what_was_shown_lead_through_the_whole_catalogue(trained):
    """What is excluded takes no place in the search, on no level: the best prefixes are the first to be used up."""
    snapshot = random_snapshot(THREE_LEVELS, 150, np.random.default_rng(3), removed=10)
    narrow = Engine(trained(THREE_LEVELS).artifact, EngineSettings(beam_size=3, leaf_beam_size=4))
    shown = NOTHING
    for _ in range(14):
        page = narrow.recommend(request_for(snapshot, excluded_rows=shown), snapshot).rows
        assert page.size == 10
        shown = np.union1d(shown, page).astype(np.int32)
    assert shown.tolist() == np.flatnonzero(snapshot.row_alive).tolist()


def test_more_candidates_than_beams_widen_the_search_unless_the_request_names_its_width(trained):
    snapshot = random_snapshot(THREE_LEVELS, 150, np.random.default_rng(3))
    narrow = Engine(trained(THREE_LEVELS).artifact, EngineSettings(beam_size=3, leaf_beam_size=4))
    assert narrow.recommend(request_for(snapshot, num_candidates=150), snapshot).rows.size == 150
    assert narrow.recommend(request_for(snapshot, num_candidates=150, beam_size=3), snapshot).rows.size < 150


def test_settings_override_the_weights_of_the_artifact(trained, snapshot):
    artifact = trained(THREE_LEVELS).artifact
    request = request_for(snapshot)
    chosen, default = Engine(artifact, EngineSettings(gamma=1.0, beta=0.0)), Engine(artifact)
    result = chosen.recommend(request, snapshot)
    np.testing.assert_allclose(result.scores, result.log_probs, atol=1e-6)
    assert not np.allclose(default.recommend(request, snapshot).scores, result.scores)


def test_an_item_found_twice_is_listed_once_at_its_best_place(snapshot):
    column = np.arange(4)[:, None]
    outputs = {
        "rows": np.array([7, 3, 7, 9], np.int32),
        "scores": np.array([4.0, 3.0, 2.0, -np.inf], np.float32),
        "log_probs": column.astype(np.float32),
        "leaves": column.astype(np.int32),
    }
    result = _result(outputs, snapshot, 3, 0)
    assert result.rows.tolist() == [7, 3]
    assert result.leaves.tolist() == [0, 1]
    assert _result(outputs, snapshot, 1, 0).rows.tolist() == [7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_candidates": 0}, "candidates"),
        ({"beam_size": 513}, "beam"),
        ({"features": Features(np.array([999], np.int32), np.zeros((1, 3), np.int32))}, "out of range"),
        ({"features": Features(np.array([-1], np.int32), np.array([[0, 5, 0]], np.int32))}, "out of range"),
        ({"features": Features(np.array([0], np.int32), np.zeros((1, 2), np.int32))}, "expected histories"),
        ({"eligibility": Eligibility("", np.ones(3, bool), (np.ones(1, bool),) * 3, 0)}, "does not fit snapshot"),
    ],
)
def test_request_that_does_not_fit_is_refused(engine, snapshot, changes, message):
    with pytest.raises(EngineError, match=message):
        engine.recommend(request_for(snapshot, **changes), snapshot)


def test_catalogue_of_another_tokenizer_is_refused(engine, snapshot):
    with pytest.raises(EngineError, match="trained on tok"):
        engine.recommend(request_for(snapshot), replace(snapshot, tokenizer_version="other"))


def test_catalogue_of_other_codebooks_is_refused(trained, snapshot):
    with pytest.raises(EngineError, match="expected codebooks"):
        Engine(trained(TWO_LEVELS).artifact).recommend(request_for(snapshot), snapshot)
