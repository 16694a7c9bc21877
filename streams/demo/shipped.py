"""Where the shipped demo pair is: a tokenizer and a small model, trained on the built-in world alone."""

from pathlib import Path

from sidestream.models.world.settings import WorldSettings

# The world that the shipped pair was trained on, and that the demo plays.
SHIPPED_WORLD = WorldSettings()


def shipped_pair() -> Path:
    """Give the pair folder that comes with the package."""
    return Path(__file__).parent / "artifact"
