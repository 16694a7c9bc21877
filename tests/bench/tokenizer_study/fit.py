"""A fit of more vectors than memory should hold: made up block by block, float16, never all there at once."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.levels import fit_levels
from sidestream.tokenizer.settings import TokenizerSettings

DIM = 128
_BLOCK_ROWS = 8_192
_CENTRES = 4_096
_NOISE = 0.05


class MadeUpVectors:
    """Clustered vectors of length about one; every pass gives the same blocks."""

    def __init__(self, num_vectors: int, seed: int) -> None:
        self.num_vectors, self.seed, self.passes = num_vectors, seed, 0
        centres = np.random.default_rng(seed).standard_normal((_CENTRES, DIM)).astype(np.float32)
        self.centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
        # Drawn once: drawing it anew for every pass took a third of the time of a fit.
        self.noise = _NOISE * np.random.default_rng([seed]).standard_normal((8 * _BLOCK_ROWS, DIM), dtype=np.float32)

    def __call__(self) -> Iterator[npt.NDArray[np.float16]]:
        """Give all blocks."""
        self.passes += 1
        for number, start in enumerate(range(0, self.num_vectors, _BLOCK_ROWS)):
            rng = np.random.default_rng([self.seed, number])
            rows = min(_BLOCK_ROWS, self.num_vectors - start)
            points, first = self.centres[rng.integers(0, _CENTRES, rows)], rng.integers(0, 7 * _BLOCK_ROWS)
            points += self.noise[first : first + rows]
            yield points.astype(np.float16)


def peak_mb() -> float:
    """Return the most memory that this program ever held."""
    # Not `ru_maxrss`: it begins with what the process that started this one held.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def fit_streamed(num_vectors: int, seed: int) -> dict[str, Any]:
    """Fit three levels of 256 codes, and tell time and memory."""
    source = MadeUpVectors(num_vectors, seed)
    before_mb, started = peak_mb(), time.process_time()
    levels = fit_levels(source, TokenizerSettings(), np.random.default_rng(seed))
    cpu_s = time.process_time() - started
    block = next(iter(source())).astype(np.float32)
    left = ((block - levels.decode(levels.encode(block))) ** 2).sum() / ((block - block.mean(axis=0)) ** 2).sum()
    return {
        "num_vectors": num_vectors,
        "dim": DIM,
        "codebook_sizes": levels.sizes,
        "passes": source.passes - 1,
        "data_mb": round(num_vectors * DIM * 2 / 2**20),
        "peak_mb_before": round(before_mb, 1),
        "peak_mb": round(peak_mb(), 1),
        "cpu_s": round(cpu_s, 1),
        "left_over": round(float(left), 4),
    }
