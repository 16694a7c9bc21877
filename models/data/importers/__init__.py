"""Importers of published data sets to log folders; each states its clock, its split and the damage it found."""

from sidestream.models.data.importers.amazon18 import import_amazon18
from sidestream.models.data.importers.lastfm import import_lastfm
from sidestream.models.data.importers.s3rec import import_s3rec

__all__ = ["import_amazon18", "import_lastfm", "import_s3rec"]
