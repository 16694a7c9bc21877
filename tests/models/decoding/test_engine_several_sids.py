"""Items with several SIDs: the engine lists each once, by its best SID, like an exhaustive search."""

import dataclasses

import numpy as np
import pytest

from sidestream.models.engine import Engine, Request
from sidestream.models.settings import EngineSettings
from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts
from tests.models.decoding.cases import CONFIGS, X_DIM, random_features
from tests.models.decoding.reference import ReferenceModel, Search

pytestmark = pytest.mark.train

TOLERANCE = 1e-4
CASES = 24


def several_snapshot(config, size, rng):
    """Most items have one SID, some two or three; prefixes are shared a lot."""

    def vectorize(item_ids, codes, x):
        v = np.stack([np.random.default_rng(hash_of(i)).normal(size=config.d_model) * 0.3 for i in item_ids])
        return v.astype(np.float32), np.ones(len(item_ids), np.float32)

    def sid():
        return tuple(int(rng.integers(0, max(1, round(k * 0.6)))) for k in config.codebook_sizes)

    catalogue = Catalogue("tok", config.codebook_sizes, config.d_model, vectorize, x_dim=X_DIM)
    catalogue.apply(
        [
            CatalogueUpdate(
                f"item-{n}", n, ItemFacts(), sid(), bytes(X_DIM), 1.0, more_sids=[sid() for _ in range(n % 4)]
            )
            for n in range(size)
        ]
    )
    catalogue.apply([CatalogueUpdate(f"item-{n}", size + n) for n in range(0, size, 5)])
    return catalogue.snapshot()


def hash_of(item_id):
    return int(item_id.split("-")[1])


def best_by_item(reference, h, snapshot, search):
    """Every SID of every item, scored separately."""
    best = {}
    for found in reference.exhaustive(h, snapshot, dataclasses.replace(search, num_candidates=10**6)):
        item_id = snapshot.item_id(found.row)
        if item_id not in best or found.score > best[item_id].score:
            best[item_id] = found
    return best


@pytest.mark.parametrize("name", CONFIGS)
def test_each_item_is_listed_once_by_the_best_of_its_sids(trained, name):
    config = CONFIGS[name]
    model = trained(config)
    reference = ReferenceModel(config, model.weights)
    engine = Engine(model.artifact, EngineSettings(gamma=0.7, beta=0.8))
    repeats = 0
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        snapshot = several_snapshot(config, (3, 12, 40)[seed % 3], rng)
        items = snapshot.aliases.without_aliases(np.arange(snapshot.num_rows, dtype=np.int32))
        excluded = rng.choice(items, 2)
        allowed = rng.random(snapshot.num_rows) < 0.8
        count = int(rng.choice([1, 4, 20]))
        features = random_features(config, snapshot, rng)
        request = Request(features, count, excluded, snapshot.eligibility(item_mask=allowed), beam_size=512)
        result = engine.recommend(request, snapshot)
        mask = allowed.copy()
        mask[excluded] = False
        rules = snapshot.eligibility(item_mask=mask)
        search = Search(512, 512, count, 0.7, 0.8, frozenset(), rules)
        h = reference.hidden(features, snapshot)
        best = best_by_item(reference, h, snapshot, search)
        wanted = sorted(best.values(), key=lambda found: -found.score)[:count]
        ids = snapshot.item_ids(result.rows)
        assert len(set(ids)) == len(ids) == len(wanted)
        assert np.isin(result.rows, items).all()
        np.testing.assert_allclose(result.scores, [found.score for found in wanted], atol=TOLERANCE, rtol=1e-5)
        for item_id, score, log_prob, leaf in zip(ids, result.scores, result.log_probs, result.leaves, strict=True):
            found = best[item_id]
            assert abs(found.score - score) <= TOLERANCE
            assert abs(found.log_prob - log_prob) <= TOLERANCE
            assert snapshot.leaf_of_sid(np.array([found.sid], np.int32)).tolist() == [leaf]
        everything = reference.exhaustive(h, snapshot, dataclasses.replace(search, num_candidates=10**6))
        repeats += len(everything) - len(best)
    assert repeats > CASES
