"""From `item-sids.v1` to the live catalogue snapshot of a worker: read by broadcast, swapped by reference."""

from streams.catalogue.decode import UpdateDecoder
from streams.catalogue.live import LiveCatalogue, RebuildPace
from streams.catalogue.reader import CatalogueReader
from streams.catalogue.settings import CatalogueSettings

__all__ = ["CatalogueReader", "CatalogueSettings", "LiveCatalogue", "RebuildPace", "UpdateDecoder"]
