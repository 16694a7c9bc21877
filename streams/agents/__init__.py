"""Faust agents: thin edges around pure calls."""

from streams.agents.catalog import CatalogAgent
from streams.agents.settings import AgentSettings
from streams.agents.tokenizing import ItemEncoder, item_sids

__all__ = ["AgentSettings", "CatalogAgent", "ItemEncoder", "item_sids"]
