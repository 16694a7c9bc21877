"""Published data sets to log folders: each importer states its clock, its split and what it found damaged."""

from models.data.importers.lastfm import import_lastfm
from models.data.importers.s3rec import import_s3rec

__all__ = ["import_lastfm", "import_s3rec"]
