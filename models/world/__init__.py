"""A synthetic audio world, clearly marked as such: listens, items and sessions for machines without data."""

from models.world.generate import generate_world
from models.world.settings import WorldSettings

__all__ = ["generate_world", "WorldSettings"]
