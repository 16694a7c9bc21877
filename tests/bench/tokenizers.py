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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sidestream.tokenizer.quality.cold_start import measure_cold_start
from sidestream.tokenizer.quality.neighbours import nearest_items, overlap, unit_vectors
from sidestream.tokenizer.representation.cooccurrence import cooccurrence_vectors
from sidestream.tokenizer.settings import TokenizerSettings
from tests.bench.support.harness import ONE_THREAD, Bench, at_most, option_parser
from tests.bench.tokenizer_study.claims import Table, judge
from tests.bench.tokenizer_study.fit import fit_streamed
from tests.bench.tokenizer_study.kinds import MAX_STEPS, fill_in, kinds, kmeans_cosine, kmeans_sweep, mean_row
from tests.bench.tokenizer_study.rows import KeptRows
from tests.bench.tokenizer_study.sets import SETS, Catalogue, read_set
from tests.bench.tokenizer_study.views import office_views

SWEEP = (16, 24, 32, 40, 48, 56, 64, 80, 96)
FIT_VECTORS = 10_000_000
FIT_PEAK_MB = 700.0
STALE_SHARE = 0.7


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in sizes."""
    parser = option_parser("The comparison sheet of tokenizers on real catalogues.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SIDESTREAM_TEST_DATA", "shared/data")))
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(SETS))
    parser.add_argument("--size", type=int, default=32, help="codes of each level")
    parser.add_argument("--fit-10m", action="store_true", help="fit ten million vectors in bounded memory instead")
    parser.add_argument("--fit-vectors", type=int, default=None, help="so many instead of ten million")
    parser.add_argument("--resume", type=Path, default=None, help="file of rows kept; those in it are not made again")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.smoke else 2)
    options.sweep = (options.size, 2 * options.size) if options.smoke else SWEEP
    options.max_items = 600 if options.smoke else None
    options.epochs, options.max_steps = 2 if options.smoke else None, MAX_STEPS
    options.fit_vectors = options.fit_vectors or (120_000 if options.smoke else FIT_VECTORS)
    return options


def compare(name: str, data: Catalogue, options: argparse.Namespace, kept: KeptRows, bench: Bench) -> Table:
    """Fill in the sheet of every kind, the mean over seeds."""
    size, seed, cut = options.size, options.seed, [options.max_items, options.epochs]
    sweep = kept([name, "sweep", options.sweep, seed, *cut], lambda: kmeans_sweep(data, options.sweep, seed))
    table = {}
    for kind, make in kinds(options.epochs).items():
        row = mean_row(
            [
                kept([name, kind, size, seed + number, *cut], partial(fill_in, make, data, size, seed + number))
                for number in range(options.rounds)
            ]
        )
        row["kmeans_cosine_at_as_many_sids"] = kmeans_cosine(sweep, row["distinct_sids"])
        bench.say(f"{name}, {kind}: {row}")
        table[kind] = row
    return table


def from_listens(data: Catalogue, seed: int) -> dict[str, Any]:
    """Tell how content places items without listens, and how soon what listeners say grows old."""
    settings, num_items = TokenizerSettings(), len(data.content)
    keys = np.arange(num_items, dtype=np.uint64)
    unheard = measure_cold_start(keys, data.content, data.sequences, settings, np.random.default_rng(seed))
    early = [rows[: max(2, int(STALE_SHARE * len(rows)))] for rows in data.sequences]
    then, now = (
        unit_vectors(
            cooccurrence_vectors(sequences, num_items, settings.collaborative_dim, np.random.default_rng(seed))
        )
        for sequences in (early, data.sequences)
    )
    heard = np.flatnonzero(then.any(axis=1) & now.any(axis=1))
    count = min(10, len(heard) - 1)
    kept = overlap(*(nearest_items(heard, vectors, heard, count) for vectors in (then, now)))
    new = int((now.any(axis=1) & ~then.any(axis=1)).sum())
    return {
        "unheard": None if unheard is None else asdict(unheard),
        "stale": {"share_of_listens": STALE_SHARE, "neighbours_kept": round(kept, 4), "heard_since": new},
    }


def equal_vectors(data: Catalogue) -> dict[str, Any]:
    """Tell how many items no tokenizer can tell apart, since their words are the same."""
    counts = np.unique(data.vectors, axis=0, return_counts=True)[1]
    return {"distinct": len(counts), "shared_share": round(float(counts[counts > 1].sum() / counts.sum()), 4)}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("tokenizers", options)
    if options.fit_10m:
        found = bench.results["fit"] = fit_streamed(options.fit_vectors, options.seed)
        bench.checks.append(at_most("fit_peak_mb", found["peak_mb"], FIT_PEAK_MB))
        return bench.finish()
    kept = KeptRows(options.resume)
    with tempfile.TemporaryDirectory(prefix="bench-tokenizers-") as scratch:
        for name in options.sets:
            folder = options.data / SETS[name][0]
            if folder.exists():
                data = read_set(name, options.data, Path(scratch), options.max_items, options.seed)
                bench.results[name] = run_set(name, folder, data, options, kept, bench)
            else:
                bench.say(f"{name}: skipped, no {folder}; set SIDESTREAM_TEST_DATA to the folder with it")
                bench.results[name] = None
            bench.checks += judge(name, bench.results[name])
    return bench.finish()


def run_set(
    name: str, folder: Path, data: Catalogue, options: argparse.Namespace, kept: KeptRows, bench: Bench
) -> dict[str, Any]:
    """Tell all of one data set."""
    cut, seed = options.max_items, options.seed
    found: dict[str, Any] = {"equal_vectors": equal_vectors(data)}
    found["from_listens"] = kept([name, "listens", seed, cut], lambda: from_listens(data, seed))
    bench.say(f"{name}, from listens: {found['from_listens']}")
    if name == "office":
        make = partial(office_views, folder, data.sequences, cut, seed)
        found["views"] = kept([name, "views", seed, cut], make)
        bench.say(f"{name}, views: {found['views']}")
    return {"kinds": compare(name, data, options, kept, bench), **found}


if __name__ == "__main__":
    if ONE_THREAD.items() - os.environ.items():
        # Again, with one thread: the environment is read when numpy is loaded, and what is judged is one thread's work.
        command = [sys.executable, "-m", "tests.bench.tokenizers", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ONE_THREAD})  # noqa: S606
    sys.exit(main())
