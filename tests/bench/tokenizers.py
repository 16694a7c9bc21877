"""The comparison sheet of tokenizers on real catalogues, from the words of their items alone.

Data: the folder that SIDESTREAM_TEST_DATA names, with `lastfm-hetrec2011`, `s3rec` and `amazon18-office`; a data set
that is not there is skipped. Lastfm's events are acts of tagging, Beauty's words are names of attributes, and both
Beauty and Office are products: they serve the mechanics of tokenizers, not claims on audio.

A cosine inside buckets is fair only at matched numbers of SIDs, since more SIDs hold fewer and nearer items: each kind
stands beside residual k-means with books of the size that gives as many SIDs, by interpolation over a sweep of sizes.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.data import LogFolder, training_sequences
from models.data.importers import import_lastfm, import_s3rec
from models.data.settings import ImportSettings
from models.evaluation.catalogue import item_texts
from tests.bench.harness import Bench, Check, at_most, option_parser, told
from tokenizer.content import WordLlamaEncoder, item_text
from tokenizer.levels import fit_levels
from tokenizer.representation import Representation
from tokenizer.settings import TokenizerSettings
from tokenizer.sheet import CodeSheet, describe_codes

Vectors = npt.NDArray[np.float32]
Make = Callable[[Vectors, int, int], CodeSheet]
SWEEP = (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128)
NUM_LEVELS = 3


def lastfm_texts(root: Path, scratch: Path) -> list[str]:
    """Artists with their tags."""
    import_lastfm(root / "lastfm-hetrec2011", scratch / "lastfm", ImportSettings())
    return _texts(scratch / "lastfm")


def beauty_texts(root: Path, scratch: Path) -> list[str]:
    """Products with the names of their attributes."""
    import_s3rec(root / "s3rec" / "Beauty.txt", scratch / "beauty", ImportSettings())
    return _texts(scratch / "beauty")


def office_texts(root: Path, scratch: Path) -> list[str]:
    """Products with title, brand and description."""
    del scratch
    items = json.loads((root / "amazon18-office" / "item.json").read_text())
    return [
        item_text(
            str(item["title"]), creator=str(item.get("brand") or ""), description=str(item.get("description") or "")
        )
        for item in items.values()
    ]


DATA = {
    "lastfm": ("lastfm-hetrec2011", lastfm_texts),
    "beauty": ("s3rec", beauty_texts),
    "office": ("amazon18-office", office_texts),
}


def _texts(folder: Path) -> list[str]:
    log = LogFolder(folder)
    return item_texts(log, training_sequences(log).item_ids)


def kind(*kinds: str, **chosen: Any) -> Make:
    """Describe the codes of fitted levels."""

    def make(vectors: Vectors, size: int, seed: int) -> CodeSheet:
        settings = TokenizerSettings(
            num_levels=NUM_LEVELS, codebook_sizes=(size,) * NUM_LEVELS, level_kinds=kinds, **chosen
        )
        levels = fit_levels(vectors, settings, np.random.default_rng(seed))
        codes = levels.encode(vectors)
        return describe_codes(vectors, codes, levels.decode(codes))

    return make


def random_codes(vectors: Vectors, size: int, seed: int) -> CodeSheet:
    """Control: codes that say nothing."""
    codes = np.random.default_rng(seed).integers(0, size, (len(vectors), NUM_LEVELS)).astype(np.int32)
    return describe_codes(vectors, codes)


KINDS: dict[str, Make] = {
    "kmeans": kind("kmeans", "kmeans", "kmeans"),
    "kmeans, beam 5": kind("kmeans", "kmeans", "kmeans", beam_size=5),
    "kmeans + fsq": kind("kmeans", "kmeans", "fsq"),
    "psrq 0.3": kind("psrq", "psrq", "psrq", prefix_weight=0.3),
    "psrq 1.0": kind("psrq", "psrq", "psrq", prefix_weight=1.0),
    "random": random_codes,
}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in sizes."""
    parser = option_parser("The comparison sheet of tokenizers on real catalogues.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SIDESTREAM_TEST_DATA", "shared/data")))
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(DATA))
    parser.add_argument("--size", type=int, default=32, help="codes of each level")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.smoke else 3)
    options.sweep = (options.size, 2 * options.size) if options.smoke else SWEEP
    options.max_items = 600 if options.smoke else None
    return options


def represent(texts: list[str]) -> Vectors:
    """Turn words into the vectors that the product would quantize, without what listeners say."""
    content, keys = WordLlamaEncoder().encode(texts), np.arange(len(texts), dtype=np.uint64)
    return Representation.fit(keys, content, None).represent(keys, content)


def matched_cosine(sweep: list[CodeSheet], distinct: int) -> float | None:
    """Interpolate the cosine inside buckets that k-means has with as many SIDs; none outside of the sweep."""
    points = sorted((sheet.distinct_sids, sheet.bucket_cosine) for sheet in sweep if sheet.bucket_cosine is not None)
    if not points or not points[0][0] <= distinct <= points[-1][0]:
        return None
    return float(np.interp(distinct, [count for count, _ in points], [cosine for _, cosine in points]))


def mean_sheet(sheets: list[CodeSheet]) -> dict[str, Any]:
    """Average the sheets of several seeds."""

    def mean(values: list[Any]) -> Any:
        if isinstance(values[0], tuple):
            return [mean(list(column)) for column in zip(*values, strict=True)]
        known = [value for value in values if value is not None]
        return round(statistics.fmean(known), 4) if known else None

    rows = [asdict(sheet) for sheet in sheets]
    return {name: mean([row[name] for row in rows]) for name in rows[0]}


def compare(vectors: Vectors, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Fill in the sheet of every kind."""
    sweep = [KINDS["kmeans"](vectors, size, options.seed) for size in options.sweep]
    table = {}
    for name, make in KINDS.items():
        seeds = range(options.seed, options.seed + options.rounds)
        row = mean_sheet([make(vectors, options.size, seed) for seed in seeds])
        row["kmeans_cosine_at_as_many_sids"] = matched_cosine(sweep, row["distinct_sids"])
        table[name] = row
    return table


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("tokenizers", options)
    ratios: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory(prefix="bench-tokenizers-") as scratch:
        for name in options.sets:
            folder, read_texts = DATA[name]
            if not (options.data / folder).exists():
                bench.say(
                    f"{name}: skipped, no {options.data / folder}; set SIDESTREAM_TEST_DATA to the folder with it"
                )
                bench.results[name] = None
                continue
            texts = read_texts(options.data, Path(scratch))[: options.max_items]
            table = bench.results[name] = compare(represent(texts), options)
            for made, row in table.items():
                bench.say(f"{name}, {made}: {row}")
            ratios[name] = table["kmeans + fsq"]["shared_share"] / max(table["kmeans"]["shared_share"], 1e-9)
    bench.checks += [_below_one(f"fsq_shared_vs_kmeans_{name}", ratios.get(name)) for name in options.sets]
    return bench.finish()


def _below_one(name: str, value: float | None) -> Check:
    # Absent data is told, not missed.
    return told(name, None) if value is None else at_most(name, value, 1.0)


if __name__ == "__main__":
    sys.exit(main())
