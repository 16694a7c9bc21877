"""What `sidestream tokenizer compare` tells people: words and numbers, one a row."""

import re

import numpy as np
import pytest

from sidestream.streams.cli.tokenizers.comparison import change_rows, measure_rows
from sidestream.tokenizer.generations import VersionOnItems, compare
from sidestream.tokenizer.levels import CentroidLevel, Quantizer


def version(name, num_levels, vectors, seed):
    rng = np.random.default_rng(seed)
    books = [np.round(rng.standard_normal((4, vectors.shape[1])) * 2**10) / 2**12 for _ in range(num_levels)]
    levels = Quantizer(tuple(CentroidLevel(book) for book in books))
    return VersionOnItems(name, levels, levels.encode(vectors), vectors)


@pytest.fixture(params=[(3, 3), (3, 2), (1, 4)])
def compared(request):
    vectors = np.random.default_rng(0).standard_normal((120, 8)).astype(np.float32) / 8
    old, new = (version(name, n, vectors, n) for name, n in zip(("older", "newer"), request.param, strict=True))
    return compare(old, new, vectors.astype(np.float64), np.random.default_rng(0))[0]


def test_every_measure_is_a_row_of_words_and_numbers(compared):
    rows = measure_rows(compared)
    told = {row["measure"]: (row["old"], row["new"]) for row in rows}
    assert len(told) == len(rows)
    assert told["version"] == ("older", "newer")
    assert told["distinct SIDs"] == (f"{compared.old.codes.distinct_sids:,}", f"{compared.new.codes.distinct_sids:,}")
    assert told["codes of each level"][0] == " × ".join("4" for _ in compared.old.codebook_sizes)
    sides = (compared.old, compared.new)
    for level in range(max(len(side.codebook_sizes) for side in sides)):
        expected = tuple(
            f"{side.codes.perplexity[level]:,.1f}" if level < len(side.codebook_sizes) else "–" for side in sides
        )
        assert told[f"perplexity, level {level}"] == expected
    assert told["residual after 1 code"] == tuple(f"{side.left_over[0]:.1%}" for side in sides)


def test_every_change_is_a_row_with_a_share(compared):
    rows = change_rows(compared)
    told = {row["change"]: row["share"] for row in rows}
    assert len(told) == len(rows)
    assert all(re.fullmatch(r"\d+\.\d%", share) for share in told.values())
    kept = compared.churn.prefix_mates_kept
    assert told["items sharing 1 code, that still do"] == f"{kept[0]:.1%}"
    assert sum("mapped right" in name and "by chance" in name for name in told) == len(compared.agreement["chance"])


def test_no_row_holds_a_tuple(compared):
    cells = [cell for row in (*measure_rows(compared), *change_rows(compared)) for cell in row.values()]
    assert all(isinstance(cell, str) for cell in cells)
    assert not [cell for cell in cells if re.match(r"[\[(]", cell)]
