"""Log folders: a time range of the topics as files, used by importers, the synthetic world, training and replay."""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
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

__getattr__ = lazy_exports(
    __name__,
    {
        "log_folder": ("Cursor", "LogFolder"),
        "manifest": ("Clock", "Counts", "FileEntry", "Manifest", "Split"),
        "rows": ("CatalogEvent", "HeldOutRow", "ListenRow", "LogRow", "Role", "TopicName"),
        "splits": ("Sequences", "training_sequences"),
        "writer": ("FolderFacts", "LogFolderWriter"),
    },
)
