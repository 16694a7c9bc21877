"""Random catalogues and requests for the tests of this folder."""

from dataclasses import dataclass

import numpy as np

from sidestream.models.engine import Request
from sidestream.models.features import Features
from sidestream.models.network_config import NetworkConfig
from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts
from tests.models.decoding.reference import Search

THREE_LEVELS = NetworkConfig(codebook_sizes=(7, 5, 9), d_model=16, head_dim=8, max_len=6)
TWO_LEVELS = NetworkConfig(codebook_sizes=(6, 11), d_model=32, head_dim=16, max_len=5, num_layers=1)
FOUR_LEVELS = NetworkConfig(codebook_sizes=(4, 3, 5, 2), d_model=16, head_dim=16, max_len=8, num_layers=3)
CONFIGS = {"two levels": TWO_LEVELS, "three levels": THREE_LEVELS, "four levels": FOUR_LEVELS}
X_DIM = 8


def random_snapshot(config, size, rng, removed=0, code_reuse=1.0):
    """Build a snapshot of `size` items, then remove some; small `code_reuse` puts many items on few SIDs."""
    vectors = {}

    def vectorize(item_ids, codes, x):
        v = np.stack([vectors[item_id] for item_id in item_ids]) if item_ids else np.empty((0, config.d_model))
        return v.astype(np.float32), np.array([1.0 + hash_weight(i) for i in item_ids], dtype=np.float32)

    catalogue = Catalogue("tok", config.codebook_sizes, config.d_model, vectorize, x_dim=X_DIM)
    ids = [f"item-{i}" for i in range(size)]
    updates = []
    for offset, item_id in enumerate(ids):
        vectors[item_id] = rng.normal(size=config.d_model) * 0.3
        sid = tuple(int(rng.integers(0, max(1, round(k * code_reuse)))) for k in config.codebook_sizes)
        updates.append(CatalogueUpdate(item_id, offset, ItemFacts(), sid, bytes(X_DIM), 1.0))
    catalogue.apply(updates)
    gone = rng.permutation(size)[:removed]
    catalogue.apply([CatalogueUpdate(ids[i], size + n) for n, i in enumerate(gone.tolist())])
    return catalogue.snapshot()


def hash_weight(item_id):
    return (int(item_id.split("-")[1]) * 7919 % 13) / 4


def random_features(config, snapshot, rng):
    """Mix listens of items in the store, of items known by their SID alone, and padding on the left."""
    length = int(rng.integers(0, config.max_len + 1))
    rows = np.full(length, -1, np.int32)
    codes = np.stack([rng.integers(0, k, length) for k in config.codebook_sizes], axis=1).astype(np.int32)
    if snapshot.num_rows:
        stored = rng.random(length) < 0.7
        rows[stored] = rng.integers(0, snapshot.num_rows, stored.sum())
    padding = int(rng.integers(0, 3)) if length else 1
    return Features(
        np.concatenate([np.full(padding, -1, np.int32), rows]),
        np.concatenate([np.full((padding, config.num_levels), -1, np.int32), codes]),
    )


@dataclass(frozen=True)
class Case:
    snapshot: object
    request: Request
    search: Search


def random_case(config, engine, seed, covering=False):
    """Draw a catalogue and a request; `covering` = beams that cut nothing off."""
    rng = np.random.default_rng(seed)
    size = (0, 1, 2, 3, 7, 20, 60, 150)[seed % 8]
    removed = int(rng.integers(0, size + 1)) if rng.random() < 0.3 else 0
    snapshot = random_snapshot(config, size, rng, removed, code_reuse=float(rng.choice([0.3, 0.7, 1.0])))
    # Drawn from half of the rows, so that long lists leave something over.
    excluded = rng.integers(-1, snapshot.num_rows // 2 + 1, int(rng.choice([0, 1, 5, 300]))).astype(np.int32)
    eligibility = None
    if rng.random() < 0.5:
        eligibility = snapshot.eligibility(item_mask=rng.random(snapshot.num_rows) < rng.choice([0.1, 0.5, 0.9]))
    request = Request(
        features=random_features(config, snapshot, rng),
        num_candidates=int(rng.choice([1, 5, 30, 300])),
        excluded_rows=excluded,
        eligibility=eligibility,
        beam_size=512 if covering else int(rng.choice([1, 2, 5, 12, 60])),
    )
    settings = engine.settings
    wanted = min(max(settings.leaf_beam_size, request.num_candidates), settings.max_leaf_beam_size)
    kept = np.ones(snapshot.num_rows, dtype=bool)
    kept[excluded[(excluded >= 0) & (excluded < kept.size)]] = False
    rules = eligibility if eligibility is not None else snapshot.eligibility()
    search = Search(
        beam_size=request.beam_size,
        leaf_beam_size=max(wanted, request.beam_size),
        num_candidates=request.num_candidates,
        gamma=settings.gamma,
        beta=settings.beta,
        excluded=frozenset(excluded.tolist()),
        # Compiled again over the whole trie: the engine removes the excluded rows from the given masks.
        eligibility=snapshot.eligibility(item_mask=rules.item & kept),
    )
    return Case(snapshot, request, search)
