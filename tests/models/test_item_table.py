import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.item_table import ItemTable
from sidestream.tokenizer.errors import ArtifactError

SIZES = (5, 3)
D, Q, N = 6, 4, 40
IDS = [f"item-{i}" for i in range(N)]


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, Q)).astype(np.float32)
    slope = rng.normal(size=(Q, D)).astype(np.float32)
    codes = np.stack([rng.integers(0, k, N) for k in SIZES], axis=1).astype(np.int32)
    counts = np.where(np.arange(N) < 30, rng.integers(1, 9, N), 0).astype(np.int32)
    embedding = rng.normal(size=(sum(SIZES), D)).astype(np.float32)
    return x, x @ slope + 0.5, codes, counts, embedding


def fitted(l2=1e-6):
    x, u, _, counts, embedding = arrays()
    return ItemTable.fit(IDS, u, counts, embedding, SIZES, x, l2=l2)


def test_known_item_keeps_its_vector_and_a_new_one_is_predicted():
    table = fitted()
    x, u, codes, counts, embedding = arrays()
    v, weights = table.vectorize(IDS, codes, x)
    of_codes = embedding[codes[:, 0]] + embedding[5 + codes[:, 1]]
    np.testing.assert_allclose(v[:30], (of_codes + u)[:30], atol=5e-3)  # float16
    np.testing.assert_allclose(v[30:], (of_codes + u)[30:], atol=1e-2)  # u is linear in x here
    np.testing.assert_allclose(weights, np.sqrt(counts + 1.0), rtol=1e-6)


def test_items_without_listens_are_not_stored():
    assert fitted().keys.size == 30


def test_content_moves_the_vector_of_a_new_item_only():
    table = fitted()
    x, _, codes, _, _ = arrays()
    before, _ = table.vectorize(IDS, codes, x)
    after, _ = table.vectorize(IDS, codes, x + 1)
    assert np.array_equal(before[:30], after[:30])
    assert not np.allclose(before[30:], after[30:])


@given(st.lists(st.integers(0, N - 1), max_size=25))
def test_vectors_are_the_same_alone_and_in_bulk(chosen):
    table = fitted()
    x, _, codes, _, _ = arrays()
    bulk, weights = table.vectorize([IDS[i] for i in chosen], codes[chosen], x[chosen])
    for place, i in enumerate(chosen):
        alone, weight = table.vectorize([IDS[i]], codes[[i]], x[[i]])
        assert alone[0].tobytes() == bulk[place].tobytes()
        assert weight[0] == weights[place]


def test_table_without_known_items_predicts_by_codes_alone():
    x, u, codes, _, embedding = arrays()
    table = ItemTable.fit(IDS, u, np.zeros(N, np.int32), embedding, SIZES, x)
    v, weights = table.vectorize(IDS, codes, x)
    np.testing.assert_array_equal(v, embedding[codes[:, 0]] + embedding[5 + codes[:, 1]])
    assert (weights == 1).all()


def test_table_is_read_back_as_written(tmp_path):
    table = fitted()
    table.save(tmp_path / "item_table")
    again = ItemTable.load(tmp_path / "item_table", SIZES)
    x, _, codes, _, _ = arrays()
    for one, other in zip(table.vectorize(IDS, codes, x), again.vectorize(IDS, codes, x), strict=True):
        assert one.tobytes() == other.tobytes()


def test_objects_are_never_unpickled(tmp_path):
    fitted().save(tmp_path)
    np.save(tmp_path / "counts.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ArtifactError, match=r"counts\.npy is not a readable array"):
        ItemTable.load(tmp_path, SIZES)


def test_arrays_that_do_not_fit_are_refused():
    table = fitted()
    with pytest.raises(ArtifactError, match="code_embedding does not fit"):
        ItemTable((9, 9), table.keys, table.vectors, table.counts, table.code_embedding, table.ridge)
    with pytest.raises(ArtifactError, match="keys does not fit"):
        ItemTable(SIZES, table.keys[::-1], table.vectors, table.counts, table.code_embedding, table.ridge)


@pytest.mark.parametrize(
    ("codes", "x", "message"),
    [
        (np.array([[0, 3]]), np.zeros((1, Q)), "expected codes"),
        (np.array([[0, -1]]), np.zeros((1, Q)), "expected codes"),
        (np.array([[0, 0]]), np.zeros((1, Q + 1)), "another tokenizer"),
    ],
)
def test_items_that_do_not_fit_are_refused(codes, x, message):
    with pytest.raises(ArtifactError, match=message):
        fitted().vectorize(["a"], codes, x)
