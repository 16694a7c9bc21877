import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.arrays.grid import snap, unit_rows
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.levels import CentroidLevel, MlpEncoder, Quantizer, fit_levels, level_size
from sidestream.tokenizer.levels.exact import encode_exact
from sidestream.tokenizer.levels.kmeans import draw_sample
from sidestream.tokenizer.settings import TokenizerSettings


def blobs(num_items, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((6, dim))
    points = centres[rng.integers(0, 6, num_items)] + 0.3 * rng.standard_normal((num_items, dim))
    return unit_rows(points, 14).astype(np.float32)


def fit(vectors, seed=0, **chosen):
    chosen = {"codebook_size": 16, "kmeans_iterations": 20, **chosen}
    return fit_levels(vectors, TokenizerSettings(**chosen), np.random.default_rng(seed))


def codebooks(*arrays, beam_size=1):
    return Quantizer(tuple(CentroidLevel(array) for array in arrays), beam_size)


VECTORS = blobs(400)
LEVELS = fit(VECTORS)
RNG = np.random.default_rng(5)
ENCODER = MlpEncoder.freeze(
    [RNG.standard_normal((16, 24)) / 4, RNG.standard_normal((24, 8)) / 5], [RNG.standard_normal(24) / 9, np.zeros(8)]
)
COMPOSED = {
    "kmeans": LEVELS,
    "beam": Quantizer(LEVELS.levels, beam_size=5),
    "wide beam": Quantizer(LEVELS.levels, beam_size=40),
    "fsq": fit(VECTORS, level_kinds=("kmeans", "kmeans", "fsq")),
    "fsq after beam": fit(VECTORS, level_kinds=("kmeans", "kmeans", "fsq"), beam_size=4),
    "fsq alone": fit(VECTORS, level_kinds=("fsq",), num_levels=1),
    "psrq": fit(VECTORS, level_kinds=("psrq", "psrq", "psrq")),
    "psrq then fsq": fit(VECTORS, level_kinds=("kmeans", "psrq", "fsq")),
    "halving": fit(VECTORS, codebook_sizes=(64, 32, 16), beam_size=2),
    "encoder": Quantizer(fit(blobs(200, dim=8, seed=2)).levels, 3, ENCODER),
}


@pytest.mark.parametrize("name", COMPOSED)
@settings(max_examples=12, deadline=None)
@given(rows=st.lists(st.integers(0, 399), min_size=1, max_size=100))
def test_codes_are_the_same_alone_and_in_any_bulk(name, rows):
    levels = COMPOSED[name]
    bulk = levels.encode(VECTORS[rows])
    assert np.array_equal(bulk, np.concatenate([levels.encode(VECTORS[row : row + 1]) for row in rows]))
    assert (bulk < np.array(levels.sizes)).all()
    assert (bulk >= 0).all()


def coarse(seed, num_codebooks, codes=7, dim=5):
    # A coarse grid makes exact ties likely: the first of equals must win, in bulk as alone.
    rng = np.random.default_rng(seed)
    made = tuple(np.ldexp(rng.integers(-3, 4, (codes, dim)).astype(float), -2) for _ in range(num_codebooks))
    return made, np.ldexp(rng.integers(-5, 6, (20, dim)).astype(np.float32), -2)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from([1, 2, 5, 30]))
def test_tables_give_the_codes_of_exact_residuals(seed, num_codebooks, beam_size):
    made, vectors = coarse(seed, num_codebooks)
    quantizer = codebooks(*made, beam_size=beam_size)
    expected, _ = encode_exact(quantizer.levels, beam_size, vectors.astype(float))
    assert np.array_equal(quantizer.encode(vectors), expected)
    assert np.array_equal(np.concatenate([quantizer.encode(vector[None]) for vector in vectors]), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_near_ties_that_float32_cannot_tell_are_decided_exactly(seed):
    # Pairs of centroids one grid step apart in one of 300 components: most rows are too close for float32.
    rng = np.random.default_rng(seed)
    first = snap(rng.standard_normal((6, 300)) / 17, 14)
    twins = first.copy()
    twins[np.arange(6), rng.integers(0, 300, 6)] += 2.0**-14
    codebook = np.concatenate([first, twins])
    vectors = snap(first[rng.integers(0, 6, 30)] + rng.standard_normal((30, 300)) / 60, 14).astype(np.float32)
    expected, _ = encode_exact((CentroidLevel(codebook), CentroidLevel(codebook)), 1, vectors.astype(float))
    # Python's integers, as the last judge.
    whole, steps = np.ldexp(codebook, 14).astype(int).tolist(), np.ldexp(vectors, 14).astype(int).tolist()
    distances = [[sum((a - b) ** 2 for a, b in zip(x, c, strict=True)) for c in whole] for x in steps]
    assert expected[:, 0].tolist() == [row.index(min(row)) for row in distances]
    assert np.array_equal(codebooks(codebook, codebook).encode(vectors), expected)
    assert np.array_equal(codebooks(codebook, codebook).encode(vectors[:1]), expected[:1])


def test_books_too_large_for_tables_are_encoded_without(monkeypatch):
    expected = COMPOSED["beam"].encode(VECTORS)
    monkeypatch.setattr("sidestream.tokenizer.levels.screen._MAX_TABLE_NUMBERS", 100)
    assert np.array_equal(Quantizer(LEVELS.levels, 5).encode(VECTORS), expected)
    fsq = COMPOSED["fsq after beam"]
    assert np.array_equal(Quantizer(fsq.levels, 4).encode(VECTORS), fsq.encode(VECTORS))


def test_a_wider_beam_leaves_less_over():
    left = [((VECTORS - (q := Quantizer(LEVELS.levels, k)).decode(q.encode(VECTORS))) ** 2).sum() for k in (1, 4, 16)]
    assert left[0] > left[1] > left[2]


def test_decoding_goes_level_by_level():
    for name in ("kmeans", "fsq", "psrq", "halving"):
        levels = COMPOSED[name]
        codes = levels.encode(VECTORS)
        left = [((VECTORS - levels.decode(codes[:, :count])) ** 2).sum() for count in (1, 2, 3)]
        assert left[0] > left[1] > left[2], name
    assert not LEVELS.decode(np.zeros((2, 0), np.int32)).any()
    for bad in (codes + 999, codes - 999, np.zeros((1, 4), np.int32), codes[0]):
        with pytest.raises(TokenizerError, match="use the codes of this tokenizer"):
            LEVELS.decode(bad)


def test_fsq_bits_are_cut_at_the_median():
    codes = COMPOSED["fsq"].encode(VECTORS)
    assert COMPOSED["fsq"].sizes == LEVELS.sizes == (16, 16, 16)
    bits = codes[:, 2:] >> np.arange(4) & 1
    assert bits.mean(axis=0) == pytest.approx(0.5, abs=0.01)


def sharing(codes):
    counts = np.unique(codes, axis=0, return_counts=True)[1]
    return counts[counts > 1].sum()


def test_a_heavy_prefix_makes_items_share_and_a_weight_of_zero_is_kmeans():
    # Why psrq is an address with a small weight only.
    none, light, heavy = (fit(VECTORS, level_kinds=("psrq",) * 3, prefix_weight=weight) for weight in (0.0, 0.3, 1.0))
    assert np.array_equal(none.encode(VECTORS), LEVELS.encode(VECTORS))
    assert sharing(light.encode(VECTORS)) < sharing(heavy.encode(VECTORS))
    assert heavy.kinds == ("kmeans", "psrq", "psrq")


@pytest.mark.parametrize("name", COMPOSED)
def test_levels_come_back_from_their_arrays(name):
    levels = COMPOSED[name]
    again = Quantizer.from_arrays(levels.arrays(), levels.kinds, levels.beam_size)
    assert np.array_equal(again.encode(VECTORS), levels.encode(VECTORS))
    assert {name: array.tobytes() for name, array in again.arrays().items()} == {
        name: array.tobytes() for name, array in levels.arrays().items()
    }


def test_fit_streams_blocks_in_bounded_memory(tmp_path):
    blocks = [blobs(4_000, dim=32, seed=number) for number in range(3)]
    opened = []

    def source(repeats):
        opened.append(repeats)
        for number in range(repeats):
            yield blocks[number % 3]

    def peak_bytes(repeats):
        tracemalloc.start()
        fitted = fit(lambda: source(repeats), kmeans_sample=2_000, codebook_size=32, num_levels=2, kmeans_iterations=3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return fitted, peak

    (_, small), (fitted, large) = peak_bytes(3), peak_bytes(30)
    assert large < 1.2 * small
    assert opened == [3] * 3 + [30] * 3
    path = tmp_path / "vectors.npy"
    np.save(path, np.concatenate(blocks))
    mapped = np.load(path, mmap_mode="r")
    assert fit(mapped, kmeans_sample=500).sizes == (16, 16, 16)
    assert fitted.sizes == (32, 32)


def test_a_sample_of_blocks_is_the_rows_with_the_smallest_keys():
    blocks = [
        np.arange(start, start + rows, dtype=np.float32)[:, None] for start, rows in ((0, 70), (70, 1), (71, 900))
    ]
    keys = np.random.default_rng(5)
    drawn = np.concatenate([keys.random(len(block)) for block in blocks])
    for sample in (1, 60, 400, 970, 971, 2_000):
        rows, count = draw_sample(iter(blocks), sample, np.random.default_rng(5))
        assert count == 971
        assert rows[:, 0].tolist() == np.sort(np.argsort(drawn)[:sample]).tolist()
    assert draw_sample(iter(()), 3, np.random.default_rng(5))[1] == 0


def test_passes_over_all_items_serve_those_outside_the_sample():
    vectors = blobs(6_000, seed=3)

    def left(**chosen):
        levels = fit(vectors, codebook_size=64, num_levels=1, kmeans_sample=300, **chosen)
        return ((vectors - levels.decode(levels.encode(vectors))) ** 2).sum()

    assert left(kmeans_passes=3) < left(kmeans_passes=1) < left(kmeans_passes=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_codes_equal_integer_arithmetic(seed):
    made, vectors = coarse(seed, 3)
    expected = []
    for vector in vectors:
        residual, codes = [int(value * 4) for value in vector], []
        for codebook in made:
            rows = [[int(value * 4) for value in row] for row in codebook]
            distances = [sum((a - b) ** 2 for a, b in zip(residual, row, strict=True)) for row in rows]
            codes.append(distances.index(min(distances)))
            residual = [a - b for a, b in zip(residual, rows[codes[-1]], strict=True)]
        expected.append(codes)
    assert codebooks(*made).encode(vectors).tolist() == expected


def test_every_code_is_used_and_levels_reduce_the_residual():
    codes = LEVELS.encode(VECTORS)
    assert LEVELS.sizes == (16, 16, 16)
    assert all(len(np.unique(column)) == 16 for column in codes.T)
    residual = VECTORS.astype(float)
    left = []
    for level, frozen in enumerate(LEVELS.levels):
        residual = residual - frozen.centroids[codes[:, level]]
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
    assert all(np.array_equal(a.centroids, b.centroids) for a, b in zip(LEVELS.levels, again.levels, strict=True))
    assert not np.array_equal(LEVELS.levels[0].centroids, other.levels[0].centroids)
    assert fit(VECTORS, kmeans_sample=9, codebook_size=256).sizes[0] <= 9


def test_zero_vectors_get_a_code():
    levels = fit(np.zeros((5, 4), np.float32))
    assert levels.sizes == (1, 1, 1)
    assert levels.encode(np.ones((1, 4), np.float32)).tolist() == [[0, 0, 0]]
    assert levels.encode(np.zeros((0, 4), np.float32)).shape == (0, 3)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ((), "at least one codebook"),
        ((np.zeros((0, 4)),), "codebook of a level"),
        ((np.zeros((2, 4)), np.zeros((2, 5))), "codebook of level 1"),
        ((np.full((2, 4), 2.0),), "below 2.0"),
        ((np.full((2, 4), 1 / 3),), r"multiples of 2\^-14"),
    ],
)
def test_codebooks_that_do_not_fit_are_refused(made, message):
    with pytest.raises(TokenizerError, match=message):
        codebooks(*made)


def test_levels_that_do_not_fit_each_other_are_refused():
    kmeans, psrq, fsq = LEVELS.levels[0], COMPOSED["psrq"].levels[1], COMPOSED["fsq"].levels[2]
    assert (psrq.kind, fsq.kind) == ("psrq", "fsq")
    with pytest.raises(TokenizerError, match="kind fsq as the last level only"):
        Quantizer((fsq, kmeans))
    with pytest.raises(TokenizerError, match="1 with psrq levels"):
        Quantizer((kmeans, psrq), beam_size=2)
    with pytest.raises(TokenizerError, match="1 to 64 paths"):
        Quantizer((kmeans,), beam_size=65)
    with pytest.raises(TokenizerError, match="expected 8 dimensions"):
        Quantizer((kmeans,), 1, ENCODER)
    with pytest.raises(TokenizerError, match="a prefix and an offset"):
        CentroidLevel(psrq.centroids, psrq.prefixes[:3], psrq.offsets)
    with pytest.raises(TokenizerError, match="a prefix and an offset"):
        CentroidLevel(psrq.centroids, psrq.prefixes, psrq.offsets / 3)
    with pytest.raises(TokenizerError, match="a threshold and two values each"):
        type(fsq)(fsq.axes, fsq.thresholds[:1], fsq.values)
    with pytest.raises(TokenizerError, match="layers that follow each other"):
        MlpEncoder(ENCODER.weights[::-1], ENCODER.biases)
    with pytest.raises(TokenizerError, match="kind 'rvq' is unknown"):
        Quantizer.from_arrays(LEVELS.arrays(), ["kmeans", "kmeans", "rvq"])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"codebook_sizes": (4, 2)}, "codebook_sizes must be empty or name num_levels = 3"),
        ({"codebook_sizes": (4, 2, 1)}, "must be from 2"),
        ({"level_kinds": ("fsq", "kmeans", "kmeans")}, "fsq as the last level only"),
        ({"level_kinds": ("psrq",) * 3, "beam_size": 2}, "beam_size must be 1 with psrq"),
    ],
)
def test_settings_refuse_levels_that_do_not_fit(chosen, message):
    with pytest.raises(ValueError, match=message):
        TokenizerSettings(**chosen)


def test_vectors_that_do_not_fit_are_refused():
    with pytest.raises(TokenizerError, match=r"\(num_rows, 16\)"):
        LEVELS.encode(VECTORS[:, :3])
    with pytest.raises(TokenizerError, match="length about 1"):
        LEVELS.encode(VECTORS * 100)
    with pytest.raises(TokenizerError, match="at least one item"):
        fit(VECTORS[:0])
