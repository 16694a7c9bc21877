"""Recommendation: a candidate set from a session-start and a user state; pure, without torch, also used by replay."""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from sidestream.models.engine import CandidateEngine
    from sidestream.models.recommend.recommender import Recommender
    from sidestream.models.recommend.settings import RecommendSettings
    from sidestream.models.recommend.steps import Steps

__all__ = ["CandidateEngine", "RecommendSettings", "Recommender", "Steps"]

__getattr__ = lazy_exports(
    __name__,
    {
        "recommender": ("CandidateEngine", "Recommender"),
        "settings": ("RecommendSettings",),
        "steps": ("Steps",),
    },
)
