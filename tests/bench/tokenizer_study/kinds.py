"""The kinds of tokenizers beside each other, with PLUM's options one by one, and random codes as control."""

import importlib
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.levels import fit_levels
from sidestream.tokenizer.quality.code_stats import measure_codes
from sidestream.tokenizer.settings import TokenizerSettings, VqSettings
from tests.bench.tokenizer_study.sets import Catalogue, Vectors, together

Codes = npt.NDArray[np.int32]
# What the first codes of each item stand for.
Decode = Callable[[Codes], npt.NDArray[np.floating]]
Make = Callable[[Catalogue, int, int], tuple[Codes, Decode | None]]
NUM_LEVELS = 3
CONTRASTIVE_WEIGHT = 0.1
# What 120 passes over the smaller catalogues are; a larger one gets fewer passes, or its training takes minutes.
MAX_STEPS = 1_800


def fitted(*kinds: str, **chosen: Any) -> Make:
    """Fit levels of these kinds."""

    def make(data: Catalogue, size: int, seed: int) -> tuple[Codes, Decode]:
        settings = TokenizerSettings(
            num_levels=NUM_LEVELS, codebook_sizes=(size,) * NUM_LEVELS, level_kinds=kinds, **chosen
        )
        levels = fit_levels(data.vectors, settings, np.random.default_rng(seed))
        return levels.encode(data.vectors), levels.decode

    return make


def trained(*, halving: bool = False, epochs: int | None = None, **options: Any) -> Make:
    """Train an RQ-VAE with these options; halving books make as many SIDs possible as equal ones."""

    def make(data: Catalogue, size: int, seed: int) -> tuple[Codes, Decode]:
        from sidestream.models.training.vq import train_vq

        sizes = (2 * size, size, size // 2) if halving else (size,) * NUM_LEVELS
        settings = VqSettings(**options)
        passes = min(settings.epochs, MAX_STEPS // math.ceil(len(data.vectors) / settings.batch_items))
        settings = settings.model_copy(update={"epochs": passes if epochs is None else epochs})
        made = train_vq(data.vectors, sizes, settings, seed, data.pairs if settings.contrastive_weight else None)
        return made.quantizer.encode(data.vectors), made.decode

    return make


def random_codes(data: Catalogue, size: int, seed: int) -> tuple[Codes, None]:
    """Control: codes that say nothing."""
    codes = np.random.default_rng(seed).integers(0, size, (len(data.vectors), NUM_LEVELS)).astype(np.int32)
    return codes, None


def kinds(epochs: int | None) -> dict[str, Make]:
    """List all kinds; those that need torch are left out where it is not installed."""
    listed: dict[str, Make] = {
        "kmeans": fitted("kmeans", "kmeans", "kmeans"),
        "kmeans, beam 5": fitted("kmeans", "kmeans", "kmeans", beam_size=5),
        "kmeans + fsq": fitted("kmeans", "kmeans", "fsq"),
        "psrq 0.3": fitted("psrq", "psrq", "psrq", prefix_weight=0.3),
        "psrq 1.0": fitted("psrq", "psrq", "psrq", prefix_weight=1.0),
        "random": random_codes,
    }
    if importlib.util.find_spec("torch") is None:
        return listed
    # Here, since loading it is no part of the first kind's time.
    importlib.import_module("torch").set_num_threads(1)
    options: dict[str, dict[str, Any]] = {
        "masking": {"progressive_masking": True},
        "contrastive": {"contrastive_weight": CONTRASTIVE_WEIGHT},
    }
    listed |= {"rq-vae": trained(epochs=epochs), "rq-vae, halving": trained(epochs=epochs, halving=True)}
    listed |= {f"rq-vae, {name}": trained(epochs=epochs, **option) for name, option in options.items()}
    both = options["masking"] | options["contrastive"]
    return listed | {"rq-vae, all of plum": trained(epochs=epochs, halving=True, **both)}


def fill_in(make: Make, data: Catalogue, size: int, seed: int) -> dict[str, Any]:
    """Fill in one kind's row of the sheet, by one seed."""
    started = time.process_time()
    codes, decode = make(data, size, seed)
    cpu_s = time.process_time() - started
    shares, chances = together(codes, data.held_pairs)
    return {
        **asdict(measure_codes(data.vectors, codes)),
        "left_over": None if decode is None else _left_over(data.vectors, codes, decode),
        "held_pairs_together": shares,
        "held_pairs_by_chance": chances,
        "cpu_s": round(cpu_s, 1),
    }


def _left_over(vectors: Vectors, codes: Codes, decode: Decode) -> list[float]:
    # By number of codes, as a share of the squared distances to the mean.
    spread = float(((vectors - vectors.mean(axis=0)) ** 2).sum())
    lengths = range(1, codes.shape[1] + 1)
    return [round(float(((vectors - decode(codes[:, :length])) ** 2).sum()) / spread, 4) for length in lengths]


def mean_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the mean of a kind's rows over seeds."""

    def mean(values: list[Any]) -> Any:
        if isinstance(values[0], list | tuple):
            return [mean(list(column)) for column in zip(*values, strict=True)]
        known = [value for value in values if value is not None]
        return round(statistics.fmean(known), 4) if known else None

    return {name: mean([row[name] for row in rows]) for name in rows[0]}


def kmeans_sweep(data: Catalogue, sizes: tuple[int, ...], seed: int) -> list[tuple[int, float]]:
    """Tell distinct SIDs and cosine inside buckets of residual k-means over a sweep of sizes, fewest SIDs first."""
    make = fitted("kmeans", "kmeans", "kmeans")
    sheets = [measure_codes(data.vectors, make(data, size, seed)[0]) for size in sizes]
    return sorted((sheet.distinct_sids, sheet.bucket_cosine) for sheet in sheets if sheet.bucket_cosine is not None)


def kmeans_cosine(points: Sequence[tuple[int, float]], distinct: float) -> float | None:
    """Interpolate the cosine inside buckets that k-means has with as many SIDs; none outside of the sweep."""
    if not points or not points[0][0] <= distinct <= points[-1][0]:
        return None
    return round(float(np.interp(distinct, [count for count, _ in points], [cosine for _, cosine in points])), 4)
