"""Local databases of one worker that is not running: kept, lost, or replaced by an old copy."""

import shutil
from pathlib import Path

# So many deaths in the cell after it was made, an old copy is replaced by a newer one.
COPY_AGE = 2


class Databases:
    """Databases in one folder.

    Args:
        folder: Of the databases of all partitions.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._newest, self._old = folder.with_name("new-copy"), folder.with_name("old-copy")
        self._copied_at = -COPY_AGE

    def copy(self, num_deaths: int) -> None:
        """Copy them, if the last copy is old; call it when the worker has ended."""
        if self.folder.exists() and num_deaths - self._copied_at >= COPY_AGE:
            # The newest copy may lack nothing yet: it is put back only after the next one was made.
            if self._newest.exists():
                shutil.rmtree(self._old, ignore_errors=True)
                self._newest.rename(self._old)
            shutil.copytree(self.folder, self._newest)
            self._copied_at = num_deaths

    def treat(self, how: str) -> str:
        """Keep them, lose them, or put an old copy in their place; returns what was done."""
        if how == "stale" and not self._old.exists():
            how = "lost"
        if how != "kept" and self.folder.exists():
            shutil.rmtree(self.folder)
        if how == "stale":
            shutil.copytree(self._old, self.folder)
        return how
