"""Codes per second beside FAISS's ResidualQuantizer, and items per second through a worker.

Codes: alone and in bulk, greedy and with a beam of 5, one thread each. Both encode the same vectors with the same
books, in processes of their own that take turns. The vectors are made up: clusters in 64 dimensions, spread over all,
as sentence vectors are. A first round, which no figure comes from, compares the codes: where they differ, FAISS's
float32 rounds otherwise than exact arithmetic decides. Items: `item_stream.py`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.levels import fit_levels
from sidestream.tokenizer.settings import TokenizerSettings
from tests.bench.peers.quix_env import ROOT, ensure_python, find_python
from tests.bench.support import item_stream
from tests.bench.support.harness import ONE_THREAD, Bench, alternate, at_least, median_ratio, option_parser, told

PEERS, BEAMS = ("ours", "faiss"), (1, 5)
SHAPES = ((256, 3), (256, 4), (768, 3), (768, 4))
PEER_TIMEOUT_S = 300.0

Run = dict[str, dict[str, float]]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in sizes."""
    parser = option_parser("Codes per second beside FAISS.")
    parser.add_argument("--vectors", type=int, default=None, help="encoded in bulk")
    parser.add_argument("--parts", default="codes,items", help="what is measured: codes, items or both")
    item_stream.add_options(parser)
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.smoke else 5)
    options.vectors = options.vectors or (2_000 if options.smoke else 20_000)
    options.shapes = SHAPES[:1] if options.smoke else SHAPES
    options.singles = 100 if options.smoke else 1_000
    options.parts = options.parts.split(",")
    item_stream.fill_in(options)
    return options


def make_vectors(count: int, dim: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Make up vectors of length one: uneven clusters in 64 dimensions, turned into `dim`, with a little noise."""
    centres = rng.standard_normal((400, 64))
    weights = rng.lognormal(0.0, 1.0, 400)
    latent = centres[rng.choice(400, count, p=weights / weights.sum())] + 0.6 * rng.standard_normal((count, 64))
    vectors = latent @ (rng.standard_normal((64, dim)) / 8.0) + 0.1 * rng.standard_normal((count, dim))
    unit: npt.NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def prepare(folder: Path, shape: tuple[int, int], options: argparse.Namespace) -> None:
    """Write the vectors and the books that both peers read; vectors lie on the grid, so that nobody rounds them."""
    dim, num_levels = shape
    rng = np.random.default_rng(options.seed)
    grid = np.float32(2**14)
    vectors: npt.NDArray[np.float32] = np.rint(make_vectors(options.vectors, dim, rng) * grid) / grid
    settings = TokenizerSettings(num_levels=num_levels, codebook_sizes=(256,) * num_levels, kmeans_iterations=6)
    folder.mkdir(parents=True)
    np.save(folder / "vectors.npy", vectors)
    for number, level in enumerate(fit_levels(vectors, settings, rng).levels):
        # A code that nothing uses would be missing, and FAISS takes books of a power of two.
        book = np.zeros((256, dim), np.float32)
        book[: level.size] = level.decode(np.arange(level.size, dtype=np.int32))
        book[level.size :] = book[0]
        np.save(folder / f"book_{number}.npy", book)


def run_peer(folder: Path, peer: str, python: str, options: argparse.Namespace, number: int) -> Run:
    """Measure one peer in a process of its own."""
    config = {"folder": str(folder), "peer": peer, "beams": BEAMS, "singles": options.singles, "codes": number == 0}
    answer = subprocess.run(
        [python, "-m", "tests.bench.peers.codes", json.dumps(config)],
        capture_output=True,
        text=True,
        timeout=PEER_TIMEOUT_S,
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    if answer.returncode != 0:
        raise RuntimeError(f"{peer} failed: {answer.stderr.strip()[-2_000:]}")
    report: Run = json.loads(answer.stdout.splitlines()[-1])
    return report


def same_codes(folder: Path, beam: int) -> float | None:
    """Return the share of vectors that both gave the same codes."""
    found = [folder / f"{peer}_{beam}.npy" for peer in PEERS]
    if not all(path.exists() for path in found):
        return None
    ours, theirs = (np.load(path) for path in found)
    return float((ours == theirs).all(axis=1).mean())


def summarize(runs: dict[str, list[Run]], beam: int) -> dict[str, Any]:
    """Put one beam's figures and ratios together; above 1 means that ours is faster."""
    row: dict[str, Any] = {}
    for figure in ("single_us", "bulk_per_s"):
        values = {peer: [run[str(beam)][figure] for run in of_peer] for peer, of_peer in runs.items()}
        row |= {f"{peer}_{figure}": round(statistics.median(series), 2) for peer, series in values.items() if series}
        if "faiss" in values:
            above, below = ("faiss", "ours") if figure == "single_us" else ("ours", "faiss")
            row[f"{figure.split('_')[0]}_vs_faiss"] = median_ratio(values[above], values[below])
    return row


def measure_codes(bench: Bench) -> None:
    """Add the figures and checks of codes beside FAISS."""
    options = bench.options
    # The smallest size fetches nothing: FAISS takes part where its environment is made.
    faiss = find_python() if options.smoke else ensure_python()
    pythons = {"ours": sys.executable, **({"faiss": faiss} if faiss else {})}
    with tempfile.TemporaryDirectory(prefix="bench-tokenize-") as root:
        for shape in options.shapes:
            folder = Path(root) / "x".join(map(str, shape))
            prepare(folder, shape, options)
            peers = {name: partial(run_peer, folder, name, python, options) for name, python in pythons.items()}
            unjudged = 0 if options.smoke else 1
            runs = alternate(peers, unjudged + options.rounds, bench.say)
            for beam in BEAMS:
                name = f"d{shape[0]} {shape[1]}x256 beam {beam}"
                judged = {peer: of_peer[unjudged:] for peer, of_peer in runs.items()}
                bench.results[name] = {**summarize(judged, beam), "same_codes": same_codes(folder, beam)}
                bench.say(f"{name}: {bench.results[name]}")
    for check, key, limit in (("single_vs_faiss", "single_vs_faiss", 1.0), ("bulk_vs_faiss", "bulk_vs_faiss", 0.8)):
        ratios = [row[key] for row in bench.results.values() if row.get(key) is not None]
        bench.checks.append(at_least(check, min(ratios) if ratios else None, limit))
    agreements = [row["same_codes"] for row in bench.results.values() if row["same_codes"] is not None]
    bench.checks.append(told("same_codes", min(agreements) if agreements else None))


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("tokenize", options)
    if "codes" in options.parts:
        measure_codes(bench)
    if "items" in options.parts:
        item_stream.measure_items(bench)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
