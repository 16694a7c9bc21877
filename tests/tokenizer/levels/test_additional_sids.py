"""Additional SIDs: within the margin, without the first, independent of the batch, complete for an exhaustive beam."""

import itertools

import numpy as np
import pytest

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.levels.kinds import CentroidLevel, FsqLevel
from sidestream.tokenizer.levels.quantizer import Quantizer

DIM = 6


def quantizer(seed=0, sizes=(4, 3), beam_size=1):
    rng = np.random.default_rng(seed)
    levels = tuple(
        CentroidLevel(np.rint(rng.normal(size=(size, DIM)) * 0.3 / (number + 1) * 2**14) / 2**14)
        for number, size in enumerate(sizes)
    )
    return Quantizer(levels, beam_size)


def vectors_of(count, seed=1):
    return (np.random.default_rng(seed).normal(size=(count, DIM)) * 0.3).astype(np.float32)


def brute_force(quantizer, vector, code, margin):
    """Every code there is, by its error."""
    every = np.array(list(itertools.product(*(range(size) for size in quantizer.sizes))), dtype=np.int32)
    snapped = np.rint(vector * 2**14) / 2**14
    errors = ((snapped - quantizer.decode(every)) ** 2).sum(axis=1)
    own = ((snapped - quantizer.decode(code[None])) ** 2).sum()
    order = [place for place in np.argsort(errors, kind="stable") if errors[place] <= (1 + margin) * own]
    return [tuple(every[place].tolist()) for place in order if tuple(every[place]) != tuple(code)]


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0])
def test_with_as_many_paths_as_codes_all_within_the_margin_are_found(margin):
    subject, vectors = quantizer(), vectors_of(40)
    codes = subject.encode(vectors)
    found = [list(some) for some in subject.alternatives(vectors, codes, 11, margin)]
    assert found == [brute_force(subject, v, c, margin) for v, c in zip(vectors, codes, strict=True)]
    assert any(found)


def test_few_paths_give_the_best_ones_and_no_more_than_asked_for():
    subject, vectors = quantizer(sizes=(8, 8, 8)), vectors_of(60)
    codes = subject.encode(vectors)
    for count in (1, 3):
        for vector, code, some in zip(vectors, codes, subject.alternatives(vectors, codes, count, 0.5), strict=True):
            assert len(some) <= count
            assert tuple(code.tolist()) not in some
            assert set(some) <= set(brute_force(subject, vector, code, 0.5))
            assert len(set(some)) == len(some)


def test_the_first_sid_and_a_vector_alone_are_as_in_bulk():
    subject, vectors = quantizer(beam_size=2), vectors_of(30)
    codes = subject.encode(vectors)
    together = subject.alternatives(vectors, codes, 3, 0.5)
    alone = [subject.alternatives(vectors[n : n + 1], codes[n : n + 1], 3, 0.5)[0] for n in range(30)]
    assert together == alone
    assert (subject.encode(vectors) == codes).all()
    assert subject.alternatives(vectors[:0], codes[:0], 3, 0.5) == []


def test_an_fsq_last_level_follows_each_path():
    plain = quantizer()
    axes = np.rint(np.random.default_rng(3).normal(size=(2, DIM)) * 0.2 * 2**14) / 2**14
    subject = Quantizer((*plain.levels, FsqLevel(axes, np.zeros(2), np.zeros((2, 2)))))
    vectors = vectors_of(20)
    codes = subject.encode(vectors)
    for code, some in zip(codes, subject.alternatives(vectors, codes, 5, 3.0), strict=True):
        assert all(len(other) == 3 for other in some)
        assert tuple(code.tolist()) not in some


def test_levels_whose_paths_do_not_compare_are_refused():
    codebook = quantizer().levels[0].centroids
    psrq = Quantizer((CentroidLevel(codebook, codebook, np.zeros(len(codebook))),))
    with pytest.raises(TokenizerError, match="psrq"):
        psrq.alternatives(vectors_of(1), np.zeros((1, 1), np.int32), 2, 0.1)
