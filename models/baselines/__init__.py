"""Baseline recommenders without training, for comparison with the model: popularity and item-kNN."""

from sidestream.models.baselines.item_knn import ItemKnn, ItemKnnSettings
from sidestream.models.baselines.popularity import Popularity
from sidestream.models.baselines.ranking import Ranker, top_items

__all__ = ["Ranker", "Popularity", "ItemKnn", "ItemKnnSettings", "top_items"]
