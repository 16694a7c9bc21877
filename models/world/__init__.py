"""Synthetic audio world, clearly marked as such: items, listens and sessions for use without real data."""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from sidestream.models.world.generate import generate_world
    from sidestream.models.world.settings import WorldSettings

__all__ = ["generate_world", "WorldSettings"]

__getattr__ = lazy_exports(
    __name__,
    {
        "generate": ("generate_world",),
        "settings": ("WorldSettings",),
    },
)
