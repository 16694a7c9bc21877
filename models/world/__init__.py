"""A synthetic audio world, clearly marked as such: listens, items and sessions for machines without data."""

from sidestream.models.world.generate import generate_world
from sidestream.models.world.settings import WorldSettings

__all__ = ["generate_world", "WorldSettings"]
