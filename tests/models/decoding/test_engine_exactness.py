"""The engine against the naive search in double precision."""

import numpy as np
import pytest

from sidestream.models.engine import Engine
from sidestream.models.settings import EngineSettings
from tests.models.decoding.cases import CONFIGS, random_case
from tests.models.decoding.reference import ReferenceModel

pytestmark = pytest.mark.train

TOLERANCE = 1e-4
WEIGHTS = ((0.25, 2.0), (1.0, 0.0), (0.0, 1.0))
CASES_PER_CONFIG = 48


def engines(artifact):
    # A narrow last level, so that it cuts too.
    return [Engine(artifact, EngineSettings(gamma=g, beta=b, leaf_beam_size=4)) for g, b in WEIGHTS]


def assert_same_list(result, expected, all_scores, num_candidates):
    """Hold two rankings equal, where neighbours closer than the tolerance may swap."""
    assert result.rows.size == min(len(expected), num_candidates)
    assert len(set(result.rows.tolist())) == result.rows.size
    wanted = np.array([item.score for item in expected])
    np.testing.assert_allclose(result.scores, wanted, atol=TOLERANCE, rtol=1e-5)
    for row, score, log_prob in zip(result.rows.tolist(), result.scores, result.log_probs, strict=True):
        item = all_scores[row]
        assert abs(item.score - score) <= TOLERANCE + 1e-5 * abs(score), f"row {row} has the score of another"
        assert abs(item.log_prob - log_prob) <= TOLERANCE + 1e-5 * abs(log_prob)


@pytest.mark.parametrize("name", CONFIGS)
def test_engine_equals_the_naive_beam_of_equal_width(trained, name):
    config = CONFIGS[name]
    model = trained(config)
    reference = ReferenceModel(config, model.weights)
    by_weights = engines(model.artifact)
    unclear = answered = 0
    for seed in range(CASES_PER_CONFIG):
        engine = by_weights[seed % len(by_weights)]
        case = random_case(config, engine, seed)
        result = engine.recommend(case.request, case.snapshot)
        h = reference.hidden(case.request.features, case.snapshot)
        expected, margin = reference.beam(h, case.snapshot, case.search)
        if margin < TOLERANCE:  # the cut is between two beams that rounding may swap
            unclear += 1
            continue
        everything = reference.exhaustive(h, case.snapshot, case.search.with_candidates(10**6))
        assert_same_list(result, expected, {item.row: item for item in everything}, case.request.num_candidates)
        sids = [case.snapshot.sid_of_row(row) for row in result.rows.tolist()]
        assert case.snapshot.leaf_of_sid(np.reshape(sids, (-1, config.num_levels))).tolist() == result.leaves.tolist()
        answered += bool(expected)
    assert unclear <= CASES_PER_CONFIG // 8
    assert answered >= CASES_PER_CONFIG // 2


@pytest.mark.parametrize("name", CONFIGS)
def test_engine_equals_exhaustive_scoring_where_the_beam_covers_the_catalogue(trained, name):
    config = CONFIGS[name]
    model = trained(config)
    reference = ReferenceModel(config, model.weights)
    engine = Engine(model.artifact, EngineSettings(gamma=0.5, beta=1.5))
    answered = 0
    for seed in range(1000, 1000 + CASES_PER_CONFIG):
        case = random_case(config, engine, seed, covering=True)
        result = engine.recommend(case.request, case.snapshot)
        h = reference.hidden(case.request.features, case.snapshot)
        expected = reference.exhaustive(h, case.snapshot, case.search)
        everything = reference.exhaustive(h, case.snapshot, case.search.with_candidates(10**6))
        assert_same_list(result, expected, {item.row: item for item in everything}, case.request.num_candidates)
        answered += bool(expected)
    assert answered >= CASES_PER_CONFIG // 2


@pytest.mark.parametrize("name", CONFIGS)
def test_trace_leads_from_the_root_to_every_answer(trained, name):
    config = CONFIGS[name]
    engine = engines(trained(config).artifact)[0]
    for seed in range(5, 40, 8):
        case = random_case(config, engine, seed)
        request = case.request.__class__(
            case.request.features, 30, case.request.excluded_rows, case.request.eligibility, 12, want_trace=True
        )
        result = engine.recommend(request, case.snapshot)
        assert len(result.trace) == config.num_levels
        codes = np.zeros((1, 0), np.int32)
        for level, step in enumerate(result.trace):
            assert (np.diff(step.scores) <= 0).all()
            codes = np.concatenate([codes[step.parents], case.snapshot.level_codes[level][step.nodes][:, None]], axis=1)
        assert {tuple(x) for x in codes.tolist()} >= {case.snapshot.sid_of_row(r) for r in result.rows.tolist()}
        assert result.rows.size or not case.search.eligibility.item.any()
