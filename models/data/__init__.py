"""Log folders: a stretch of the topics as files, for importers, the synthetic world, training and replay alike."""

from sidestream.models.data.log_folder import Cursor, LogFolder
from sidestream.models.data.manifest import Clock, Counts, FileEntry, Manifest, Split
from sidestream.models.data.rows import CatalogEvent, HeldOutRow, ListenRow, LogRow, Role, TopicName
from sidestream.models.data.splits import Sequences, training_sequences
from sidestream.models.data.writer import FolderFacts, LogFolderWriter

__all__ = [
    "LogFolder",
    "Cursor",
    "LogRow",
    "ListenRow",
    "CatalogEvent",
    "HeldOutRow",
    "Role",
    "TopicName",
    "LogFolderWriter",
    "FolderFacts",
    "Manifest",
    "Clock",
    "Counts",
    "FileEntry",
    "Split",
    "Sequences",
    "training_sequences",
]
