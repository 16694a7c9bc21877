"""From one session-start and one listener's state to a candidate set: pure, torch-free, the same live and in replay."""

from sidestream.models.engine import CandidateEngine
from sidestream.models.recommend.recommender import Recommender
from sidestream.models.recommend.settings import RecommendSettings
from sidestream.models.recommend.steps import Steps

__all__ = ["CandidateEngine", "RecommendSettings", "Recommender", "Steps"]
