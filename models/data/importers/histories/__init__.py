"""Importers of listening histories: any JSON or CSV file of plays, ListenBrainz, Spotify, and rating data."""

from sidestream.models.data.importers.histories.fields import FIELDS, FieldMap
from sidestream.models.data.importers.histories.listenbrainz import ListenBrainzHistory
from sidestream.models.data.importers.histories.mapped import MappedHistory, MappedOptions
from sidestream.models.data.importers.histories.movielens import MovieLensHistory, RatingOptions
from sidestream.models.data.importers.histories.run import HistoryOptions, import_history
from sidestream.models.data.importers.histories.spotify import SpotifyHistory, SpotifyOptions

__all__ = [
    "import_history",
    "HistoryOptions",
    "FIELDS",
    "FieldMap",
    "MappedHistory",
    "MappedOptions",
    "ListenBrainzHistory",
    "SpotifyHistory",
    "SpotifyOptions",
    "MovieLensHistory",
    "RatingOptions",
]
