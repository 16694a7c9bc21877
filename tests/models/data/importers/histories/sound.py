"""An import of a history whose folder must be sound."""

from sidestream.models.data import LogFolder
from sidestream.models.data.check import check_folder
from sidestream.models.data.importers.histories import import_history


def import_sound(history, target, how, now_ms):
    """Import a history at a time; return the manifest and the folder."""
    manifest = import_history(history, target, how, now_ms=lambda: now_ms)
    found = check_folder(target)
    assert found.is_sound, found.problems
    return manifest, LogFolder(target)
