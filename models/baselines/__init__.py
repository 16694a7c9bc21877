"""Simple recommenders without training, printed beside the model: popularity and item-kNN."""

from models.baselines.item_knn import ItemKnn, ItemKnnSettings
from models.baselines.popularity import Popularity
from models.baselines.ranking import Ranker, top_items

__all__ = ["Ranker", "Popularity", "ItemKnn", "ItemKnnSettings", "top_items"]
