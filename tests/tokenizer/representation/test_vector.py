import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.representation.ridge import fit_ridge
from sidestream.tokenizer.representation.vector import Representation

NUM_ITEMS, CONTENT_DIM, DIM, HALF = 90, 40, 32, 12
rng = np.random.default_rng(11)
KEYS = rng.permutation(2**63 + np.arange(NUM_ITEMS, dtype=np.uint64))
CONTENT = rng.standard_normal((NUM_ITEMS, CONTENT_DIM)).astype(np.float32)
HEARD = np.arange(NUM_ITEMS) % 3 > 0
COLLABORATIVE = (np.tanh(CONTENT[:, :HALF] * 2) * HEARD[:, None]).astype(np.float32)


@pytest.fixture(scope="module")
def representation():
    return Representation.fit(KEYS, CONTENT, COLLABORATIVE, dim=DIM, collaborative_dim=HALF)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.integers(0, 2 * NUM_ITEMS - 1), min_size=1, max_size=70),
    scale=st.floats(1e-20, 1e20),
    padding=st.integers(0, 3),
)
def test_vectors_are_the_same_bits_alone_and_in_any_bulk(representation, rows, scale, padding):
    # Rows beyond the catalogue are unknown items with known content, scaled by what must not matter to the batch.
    chosen = np.array(rows)
    keys = np.where(chosen < NUM_ITEMS, KEYS[chosen % NUM_ITEMS], np.uint64(chosen.max() + 1))
    content = (CONTENT[chosen % NUM_ITEMS] * np.float32(scale)).astype(np.float32)
    # A strided, offset view moves the rows in memory, which has changed results of vectorised kernels before.
    moved = np.zeros((len(rows) + padding, CONTENT_DIM + padding), np.float32)[padding:, padding:]
    moved[:] = content
    bulk = representation.represent(keys, moved)
    alone = np.concatenate([representation.represent(keys[i : i + 1], content[i : i + 1]) for i in range(len(rows))])
    assert np.array_equal(bulk.view(np.uint32), alone.view(np.uint32))


def test_vectors_are_the_same_bits_in_batches_of_any_size():
    # As many rows and columns as in production: matrix products change kernels with the shape, and rounding with them.
    content = np.random.default_rng(2).standard_normal((3_000, 256)).astype(np.float32)
    keys = np.arange(3_000, dtype=np.uint64)
    wide = Representation.fit(keys[:500], content[:500], content[:500, :64])
    bulk = wide.represent(keys, content)
    for size in (1, 2, 3, 7, 64, 1_000):
        parts = [wide.represent(keys[at : at + size], content[at : at + size]) for at in range(0, 3_000, size)]
        assert np.array_equal(bulk.view(np.uint32), np.concatenate(parts).view(np.uint32))


def test_vectors_equal_integer_arithmetic(representation):
    # Python integers never round: equality with them proves that no float64 sum did, in any order.
    item = 1
    unknown = representation.represent(np.array([5], np.uint64), CONTENT[item : item + 1])[0]
    whole = np.rint(np.ldexp(CONTENT[item].astype(float), 20 - int(np.frexp(np.abs(CONTENT[item]).max())[1])))
    norm = np.sqrt(float(sum(int(value) ** 2 for value in whole)))
    unit = [round(float(value) / norm * 2**16) for value in whole]
    centred = [value - int(mean * 2**16) for value, mean in zip(unit, representation.content_mean, strict=True)]
    for table, constant, offset, share in (
        (representation.projection, None, 0, 0.5),
        (representation.ridge[:-1], representation.ridge[-1], DIM - HALF, 0.5),
    ):
        columns = (table * 2**20).astype(int).T.tolist()
        sums = [sum(a * b for a, b in zip(centred, column, strict=True)) for column in columns]
        if constant is not None:
            sums = [value + int(one * 2**20) * 2**16 for value, one in zip(sums, constant, strict=True)]
        peak = int(np.frexp(max(abs(value) for value in sums) / 2**36)[1])
        scaled = [round(value / 2**36 * 2.0 ** (20 - peak)) for value in sums]
        length = np.sqrt(float(sum(value * value for value in scaled)))
        half = [round(value / length * 2**14) / 2**14 for value in scaled]
        expected = [round(value * np.sqrt(share) * 2**14) / 2**14 for value in half]
        assert unknown[offset : offset + len(expected)].tolist() == expected


def test_known_items_keep_their_half_and_unknown_ones_get_a_prediction(representation):
    vectors = representation.represent(KEYS, CONTENT)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-3)
    unit = COLLABORATIVE / np.maximum(np.linalg.norm(COLLABORATIVE, axis=1, keepdims=True), 1e-9)
    halves = vectors[:, DIM - HALF :] * np.sqrt(2)
    assert halves[HEARD] == pytest.approx(unit[HEARD], abs=1e-3)
    truth = np.tanh(CONTENT[:, :HALF] * 2)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    assert (halves[~HEARD] * truth[~HEARD]).sum(axis=1).mean() > 0.6
    assert len(representation.keys) == HEARD.sum()


def test_without_listens_content_gets_the_whole_vector():
    for collaborative in (None, np.zeros((NUM_ITEMS, HALF), np.float32)):
        plain = Representation.fit(KEYS, CONTENT, collaborative, dim=DIM, collaborative_dim=HALF)
        vectors = plain.represent(KEYS, CONTENT)
        assert plain.dim == DIM
        assert plain.projection.shape == (CONTENT_DIM, DIM)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-3)


def test_an_item_without_words_is_the_mean_not_a_direction(representation):
    empty = np.zeros((1, CONTENT_DIM), np.float32)
    unknown = representation.represent(np.array([1], np.uint64), empty)[0]
    assert not unknown[: DIM - HALF].any()
    known = representation.represent(KEYS[1:2], empty)[0]
    assert known[DIM - HALF :].any()


@pytest.mark.parametrize("num_items", [1, 3])
def test_a_few_items_give_a_full_vector(num_items):
    content = CONTENT[:num_items]
    few = Representation.fit(KEYS[:num_items], content, COLLABORATIVE[:num_items], dim=DIM, collaborative_dim=HALF)
    vectors = few.represent(KEYS[:num_items], content)
    assert vectors.shape == (num_items, DIM)
    assert vectors.any(axis=1).all()
    assert len(np.unique(few.represent(KEYS, CONTENT), axis=0)) == NUM_ITEMS


def test_narrow_content_is_padded():
    narrow = Representation.fit(KEYS, CONTENT[:, :4], COLLABORATIVE, dim=DIM, collaborative_dim=HALF)
    vectors = narrow.represent(KEYS, CONTENT[:, :4])
    assert vectors.shape == (NUM_ITEMS, DIM)
    assert not vectors[:, 4 : DIM - HALF].any()


def test_wrong_vectors_are_refused(representation):
    with pytest.raises(TokenizerError, match=r"expected an array of shape \(num_rows, 40\)"):
        representation.represent(KEYS[:1], CONTENT[:1, :7])
    with pytest.raises(TokenizerError, match="1 keys and 2 vectors"):
        representation.represent(KEYS[:1], CONTENT[:2])
    broken = CONTENT.copy()
    broken[3, 3] = np.nan
    with pytest.raises(TokenizerError, match="row 3 of 90"):
        representation.represent(KEYS, broken)
    with pytest.raises(TokenizerError, match="distinct key"):
        Representation.fit(KEYS[[0, 0]], CONTENT[:2], None)
    with pytest.raises(TokenizerError, match="distinct key"):
        Representation.fit(KEYS[:0], CONTENT[:0], None)


def test_arrays_are_read_only(representation):
    with pytest.raises(ValueError, match="read-only"):
        representation.projection[0, 0] = 1.0


def test_ridge_picks_a_penalty_between_noise_and_signal():
    local = np.random.default_rng(5)
    inputs = local.standard_normal((300, 20))
    weights = local.standard_normal((20, 3))
    clean = fit_ridge(inputs, inputs @ weights + 0.5)
    scale = (clean[:-1] * weights).sum() / (weights * weights).sum()
    assert clean[:-1] == pytest.approx(weights * scale, abs=0.01 * scale * np.abs(weights).max())
    assert clean[-1] == pytest.approx(np.full(3, 0.5 * scale), abs=0.01)
    noise = fit_ridge(inputs, local.standard_normal((300, 3)) + 5.0)
    assert np.abs(noise[:-1]).max() < 0.05 * np.abs(noise[-1]).min()
    assert not fit_ridge(inputs[:0], inputs[:0, :3]).any()
