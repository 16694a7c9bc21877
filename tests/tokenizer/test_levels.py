import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.errors import TokenizerError
from tokenizer.grid import snap, unit_rows
from tokenizer.levels import ResidualLevels, fit_levels, level_size


def blobs(num_items, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((6, dim))
    points = centres[rng.integers(0, 6, num_items)] + 0.3 * rng.standard_normal((num_items, dim))
    return unit_rows(points, 14).astype(np.float32)


def fit(vectors, num_levels=3, codebook_size=16, seed=0, iterations=20, sample=100_000):
    return fit_levels(vectors, num_levels, codebook_size, iterations, sample, np.random.default_rng(seed))


VECTORS = blobs(400)
LEVELS = fit(VECTORS)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.integers(0, 399), min_size=1, max_size=200))
def test_codes_are_the_same_alone_and_in_any_bulk(rows):
    bulk = LEVELS.encode(VECTORS[rows])
    assert np.array_equal(bulk, np.concatenate([LEVELS.encode(VECTORS[row : row + 1]) for row in rows]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_codes_equal_integer_arithmetic(seed):
    rng = np.random.default_rng(seed)
    # A coarse grid makes exact ties likely: the first of equals must win, in bulk as alone.
    books = tuple(np.ldexp(rng.integers(-3, 4, (7, 5)).astype(float), -2) for _ in range(3))
    vectors = np.ldexp(rng.integers(-5, 6, (20, 5)).astype(np.float32), -2)
    expected = []
    for vector in vectors:
        residual, codes = [int(value * 4) for value in vector], []
        for book in books:
            rows = [[int(value * 4) for value in row] for row in book]
            distances = [sum((a - b) ** 2 for a, b in zip(residual, row, strict=True)) for row in rows]
            codes.append(distances.index(min(distances)))
            residual = [a - b for a, b in zip(residual, rows[codes[-1]], strict=True)]
        expected.append(codes)
    assert ResidualLevels(books).encode(vectors).tolist() == expected


def test_every_code_is_used_and_levels_reduce_the_residual():
    codes = LEVELS.encode(VECTORS)
    assert LEVELS.sizes == (16, 16, 16)
    assert all(len(np.unique(column)) == 16 for column in codes.T)
    residual = VECTORS.astype(float)
    left = []
    for level, book in enumerate(LEVELS.codebooks):
        residual = residual - book[codes[:, level]]
        left.append((residual**2).sum())
    assert left[0] < 0.5 * (VECTORS**2).sum()
    assert left[2] < left[1] < left[0]
    assert len(np.unique(codes, axis=0)) > 300


def test_dead_codes_start_again():
    # Two far heaps and a start that can only see one: without restarts most codes would stay empty.
    rng = np.random.default_rng(0)
    heap = np.repeat(blobs(1), 500, axis=0)
    spread = blobs(120, seed=5)
    levels = fit(np.concatenate([heap, spread])[rng.permutation(620)], num_levels=1, codebook_size=32)
    assert levels.sizes == (32,)


@pytest.mark.parametrize(
    ("num_items", "size"), [(1, 1), (2, 2), (3, 3), (50, 16), (500, 64), (3_646, 128), (4_097, 256), (10**7, 256)]
)
def test_level_size_follows_the_catalogue(num_items, size):
    assert level_size(num_items, 256) == size


@settings(max_examples=40, deadline=None)
@given(num_items=st.integers(1, 12), copies=st.integers(1, 4), seed=st.integers(0, 99))
def test_tiny_and_repetitive_catalogues_are_defined(num_items, copies, seed):
    vectors = np.repeat(blobs(num_items, seed=seed), copies, axis=0)
    levels = fit(vectors, codebook_size=256, seed=seed)
    codes = levels.encode(vectors)
    assert (codes >= 0).all()
    assert (codes < np.array(levels.sizes)).all()
    assert all(len(np.unique(codes[:, level])) == size for level, size in enumerate(levels.sizes))
    assert levels.encode(-vectors).shape == (len(vectors), 3)


def test_fit_is_decided_by_the_seed_and_bounded_by_the_sample():
    again, other = fit(VECTORS), fit(VECTORS, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(LEVELS.codebooks, again.codebooks, strict=True))
    assert not np.array_equal(LEVELS.codebooks[0], other.codebooks[0])
    assert fit(VECTORS, sample=9, codebook_size=256).sizes[0] <= 9


def test_zero_vectors_get_a_code():
    levels = fit(np.zeros((5, 4), np.float32))
    assert levels.sizes == (1, 1, 1)
    assert levels.encode(np.ones((1, 4), np.float32)).tolist() == [[0, 0, 0]]
    assert levels.encode(np.zeros((0, 4), np.float32)).shape == (0, 3)


@pytest.mark.parametrize(
    ("books", "message"),
    [
        ((), "at least one codebook"),
        ((np.zeros((0, 4)),), "codebook of level 0"),
        ((np.zeros((2, 4)), np.zeros((2, 5))), "codebook of level 1"),
        ((np.full((2, 4), 2.0),), "below 2.0"),
        ((np.full((2, 4), 1 / 3),), r"multiples of 2\^-14"),
    ],
)
def test_codebooks_that_do_not_fit_are_refused(books, message):
    with pytest.raises(TokenizerError, match=message):
        ResidualLevels(books)


def test_vectors_that_do_not_fit_are_refused():
    with pytest.raises(TokenizerError, match=r"\(num_rows, 16\)"):
        LEVELS.encode(VECTORS[:, :3])
    with pytest.raises(TokenizerError, match="length about 1"):
        LEVELS.encode(VECTORS * 100)
    with pytest.raises(TokenizerError, match="at least one item"):
        fit(VECTORS[:0])
    assert np.array_equal(snap(LEVELS.codebooks[0], 14), LEVELS.codebooks[0])
