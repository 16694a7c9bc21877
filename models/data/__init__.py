"""Log folders: a stretch of the topics as files, for importers, the synthetic world, training and replay alike."""

from models.data.log_folder import Cursor, LogFolder
from models.data.manifest import Clock, Counts, FileEntry, Manifest, Split
from models.data.rows import CatalogEvent, HeldOutRow, ListenRow, LogRow, Role, TopicName
from models.data.splits import Sequences, training_sequences
from models.data.writer import FolderFacts, LogFolderWriter

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
