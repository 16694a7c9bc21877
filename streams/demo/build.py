"""Rebuild the shipped demo pair from the built-in world: `make demo-artifact`.

One thread and fixed seeds: the manifests are equal on one machine, and metrics within 0.01 elsewhere. Weights for
further training are left out; they are two thirds of the size and nothing that serves reads them.
"""

import json
import sys
import tempfile
from pathlib import Path

from sidestream.models.artifact import WEIGHTS_NAME, load_model_artifact, seal
from sidestream.models.data import LogFolder
from sidestream.models.training.settings import TrainSettings
from sidestream.models.training.tokenizer import train_tokenizer
from sidestream.models.training.train import train_model
from sidestream.models.world import generate_world
from sidestream.streams.demo.shipped import SHIPPED_WORLD, shipped_pair
from sidestream.tokenizer.content import WordLlamaEncoder
from sidestream.tokenizer.settings import TokenizerSettings

MAX_BYTES = 3_000_000

TOKENIZER = TokenizerSettings(vector_dim=64, collaborative_dim=32)
TRAINING = TrainSettings(threads=1, d_model=64, head_dim=32, seed=7)


def build(pair: Path) -> dict[str, object]:
    """Train the demo pair.

    Args:
        pair: Pair folder to write; an older pair there is replaced.

    Returns:
        Versions, size and the headline metrics.
    """
    with tempfile.TemporaryDirectory() as scratch:
        generate_world(Path(scratch) / "world", SHIPPED_WORLD)
        folder = LogFolder(Path(scratch) / "world")
        fitted = train_tokenizer(folder, pair / "tokenizer", WordLlamaEncoder(), TOKENIZER, TRAINING.seed)
        result = train_model(folder, fitted.tokenizer, pair / "model", TRAINING)
    (pair / "model" / WEIGHTS_NAME).unlink()
    seal(pair / "model")
    artifact = load_model_artifact(pair / "model", fitted.tokenizer.version)
    size = sum(path.stat().st_size for path in pair.rglob("*") if path.is_file())
    if size > MAX_BYTES:
        msg = f"{pair}: expected at most {MAX_BYTES:,} bytes, got {size:,}; make the model or its world smaller"
        raise ValueError(msg)
    recalls = {name: value for name, value in result.metrics.items() if "recall" in name}
    return {
        "tokenizer_version": fitted.tokenizer.version,
        "model_version": artifact.version,
        "bytes": size,
        "seconds": result.seconds,
        **recalls,
    }


def _tell(stage: str, done: int, total: int, note: str) -> None:
    if note:
        sys.stderr.write(f"{stage} {done:,}/{total:,} {note}\n")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(build(shipped_pair())) + "\n")
