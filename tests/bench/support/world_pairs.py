"""Two pairs for a rollout: one world, two tokenizers of other seeds and levels, and a small model trained on each."""

from pathlib import Path

from sidestream.models.data import LogFolder
from sidestream.models.settings import EngineSettings
from sidestream.models.training.settings import TrainSettings
from sidestream.models.training.tokenizer import train_tokenizer
from sidestream.models.training.train import train_model
from sidestream.models.world import WorldSettings, generate_world
from sidestream.tokenizer.content import WordLlamaEncoder
from sidestream.tokenizer.settings import TokenizerSettings

WORLD = WorldSettings(listeners=60, shows=6, artists=12, books=3, live_per_day=0, days=6)
TRAINING = TrainSettings(
    epochs=2,
    d_model=64,
    head_dim=32,
    num_negatives=128,
    validation_listeners=10,
    guide_weights=((1.0, 2.0),),
)
TOKENIZERS = {
    "a": (1, TokenizerSettings(vector_dim=64, collaborative_dim=32, num_levels=3, codebook_sizes=(64, 64, 64))),
    "b": (2, TokenizerSettings(vector_dim=64, collaborative_dim=32, num_levels=4, codebook_sizes=(64, 32, 32, 32))),
}


def make_pairs(folder: Path) -> dict[str, str]:
    """Train both pairs.

    Args:
        folder: Gets `world`, a log folder, and the pair folders `pairs/a` and `pairs/b`.

    Returns:
        Tokenizer version by name of the pair.
    """
    generate_world(folder / "world", WORLD)
    log = LogFolder(folder / "world")
    versions = {}
    for name, (seed, settings) in TOKENIZERS.items():
        pair = folder / "pairs" / name
        fitted = train_tokenizer(log, pair / "tokenizer", WordLlamaEncoder(), settings, seed)
        train_model(
            log, fitted.tokenizer, pair / "model", TRAINING.model_copy(update={"seed": seed}), engine=EngineSettings()
        )
        versions[name] = fitted.tokenizer.version
    return versions
