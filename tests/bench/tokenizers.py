"""The comparison sheet of tokenizers on real catalogues, from the words of their items alone.

Data: the folder that SIDESTREAM_TEST_DATA names, with `lastfm-hetrec2011`, `s3rec` and `amazon18-office`; a data set
that is not there is skipped. What they are and are not is said in `tokenizer_sets.py`.

A cosine inside buckets is fair only at matched numbers of SIDs, since more SIDs hold fewer and nearer items: each kind
stands beside residual k-means with books of the size that gives as many SIDs, by interpolation over a sweep of sizes.

`--fit-10m` does something else instead: a fit of ten million vectors, for its memory.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.harness import Bench, Check, at_least, at_most, option_parser, told
from tests.bench.tokenizer_fit import fit_streamed
from tests.bench.tokenizer_kinds import fill_in, kinds, kmeans_cosine, kmeans_sheets
from tests.bench.tokenizer_sets import SETS, Catalogue, read_set
from tokenizer.cooccurrence import cooccurrence_vectors
from tokenizer.neighbours import nearest, overlap, unit_vectors
from tokenizer.settings import TokenizerSettings
from tokenizer.unheard import report_unheard

SWEEP = (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128)
FIT_VECTORS = 10_000_000
FIT_PEAK_MB = 1_500.0
STALE_SHARE = 0.7
Table = dict[str, dict[str, Any]]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in sizes."""
    parser = option_parser("The comparison sheet of tokenizers on real catalogues.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SIDESTREAM_TEST_DATA", "shared/data")))
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(SETS))
    parser.add_argument("--size", type=int, default=32, help="codes of each level")
    parser.add_argument("--fit-10m", action="store_true", help="fit ten million vectors in bounded memory instead")
    parser.add_argument("--fit-vectors", type=int, default=None, help="so many instead of ten million")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.smoke else 3)
    options.sweep = (options.size, 2 * options.size) if options.smoke else SWEEP
    options.max_items = 600 if options.smoke else None
    options.epochs = 2 if options.smoke else None
    options.fit_vectors = options.fit_vectors or (120_000 if options.smoke else FIT_VECTORS)
    return options


def compare(data: Catalogue, options: argparse.Namespace, bench: Bench, name: str) -> Table:
    """Fill in the sheet of every kind."""
    sweep = kmeans_sheets(data, options.sweep, options.seed)
    table = {}
    for kind, make in kinds(options.epochs).items():
        row = fill_in(make, data, options.size, range(options.seed, options.seed + options.rounds))
        row["kmeans_cosine_at_as_many_sids"] = kmeans_cosine(sweep, row["distinct_sids"])
        bench.say(f"{name}, {kind}: {row}")
        table[kind] = row
    return table


def from_listens(data: Catalogue, seed: int) -> dict[str, Any]:
    """Tell how content places items without listens, and how soon what listeners say grows old."""
    settings, num_items = TokenizerSettings(), len(data.content)
    keys = np.arange(num_items, dtype=np.uint64)
    unheard = report_unheard(keys, data.content, data.sequences, settings, np.random.default_rng(seed))
    early = [rows[: max(2, int(STALE_SHARE * len(rows)))] for rows in data.sequences]
    then, now = (
        unit_vectors(
            cooccurrence_vectors(sequences, num_items, settings.collaborative_dim, np.random.default_rng(seed))
        )
        for sequences in (early, data.sequences)
    )
    heard = np.flatnonzero(then.any(axis=1) & now.any(axis=1))
    count = min(10, len(heard) - 1)
    kept = overlap(*(nearest(heard, vectors, heard, count) for vectors in (then, now)))
    new = int((now.any(axis=1) & ~then.any(axis=1)).sum())
    return {
        "unheard": None if unheard is None else asdict(unheard),
        "stale": {"share_of_listens": STALE_SHARE, "neighbours_kept": round(kept, 4), "heard_since": new},
    }


def judge(name: str, table: Table | None, listens: dict[str, Any] | None) -> list[Check]:
    """Compare what was claimed with what came out; what is absent is told, not missed."""

    def ratio(figure: str, above: str, below: str, place: int | None = None) -> float | None:
        if table is None or above not in table:
            return None
        upper, lower = (table[kind][figure] if place is None else table[kind][figure][place] for kind in (above, below))
        return float(upper) / max(float(lower), 1e-9)

    def lead(kind: str) -> float | None:
        if table is None or kind not in table or table[kind]["kmeans_cosine_at_as_many_sids"] is None:
            return None
        return float(table[kind]["bucket_cosine"] - table[kind]["kmeans_cosine_at_as_many_sids"])

    def lift(kind: str) -> float | None:
        # Over chance, since few codes for many items bring any two together.
        if table is None or kind not in table:
            return None
        return float(table[kind]["held_pairs_together"][0] / max(table[kind]["held_pairs_by_chance"][0], 1e-9))

    plain, pulled = lift("rq-vae"), lift("rq-vae, contrastive")
    unheard = None if listens is None else listens["unheard"]
    recall = None if unheard is None else unheard["predicted_recall"] / unheard["chance"]
    ceilings = {
        "fsq_shared_vs_kmeans": (ratio("shared_share", "kmeans + fsq", "kmeans"), 1.0),
        "rqvae_cosine_above_kmeans": (lead("rq-vae"), 0.0),
        "masking_left_over_1": (ratio("left_over", "rq-vae, masking", "rq-vae", 0), 1.0),
        "masking_left_over_2": (ratio("left_over", "rq-vae, masking", "rq-vae", 1), 1.0),
        "halving_shared_vs_equal": (ratio("shared_share", "rq-vae, halving", "rq-vae"), 1.0),
        "random_cosine": (None if table is None else table["random"]["bucket_cosine"], 0.1),
    }
    floors = {
        "contrastive_lift": (pulled / plain if pulled and plain else None, 1.0),
        "unheard_recall_vs_chance": (recall, 2.0),
    }
    limits = [(at_most, ceilings), (at_least, floors)]
    return [
        told(f"{check}_{name}", None) if value is None else limit(f"{check}_{name}", value, bound)
        for limit, figures in limits
        for check, (value, bound) in figures.items()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("tokenizers", options)
    if options.fit_10m:
        found = bench.results["fit"] = fit_streamed(options.fit_vectors, options.seed)
        bench.checks.append(at_most("fit_peak_mb", found["peak_mb"], FIT_PEAK_MB))
        return bench.finish()
    with tempfile.TemporaryDirectory(prefix="bench-tokenizers-") as scratch:
        for name in options.sets:
            folder = options.data / SETS[name][0]
            if not folder.exists():
                bench.say(f"{name}: skipped, no {folder}; set SIDESTREAM_TEST_DATA to the folder with it")
                bench.results[name] = None
                bench.checks += judge(name, None, None)
                continue
            data = read_set(name, options.data, Path(scratch), options.max_items, options.seed)
            listens = from_listens(data, options.seed)
            bench.say(f"{name}, from listens: {listens}")
            table = compare(data, options, bench, name)
            bench.results[name] = {"kinds": table, "from_listens": listens}
            bench.checks += judge(name, table, listens)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
