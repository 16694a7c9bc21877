"""One recording at a time in a folder."""

import fcntl
import shutil

import pytest

from sidestream.streams.errors import DataError
from sidestream.streams.operate.recording import spool
from sidestream.streams.operate.recording.spool import FOLDER, locked


@pytest.mark.parametrize("is_there_again", [True, False])
def test_a_folder_that_was_replaced_before_it_was_locked_is_refused(tmp_path, monkeypatch, is_there_again):
    flock = fcntl.flock

    def replaced(descriptor, operation):
        if operation & fcntl.LOCK_NB:  # not the lock of the parent folder
            (tmp_path / "log").rename(tmp_path / "old")
            if is_there_again:
                (tmp_path / "log" / FOLDER).mkdir(parents=True)
        flock(descriptor, operation)

    monkeypatch.setattr(spool.fcntl, "flock", replaced)
    with pytest.raises(DataError, match="another recording writes there"), locked(tmp_path / "log"):
        pass
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "old")
    with locked(tmp_path / "log"), pytest.raises(DataError, match="another recording"), locked(tmp_path / "log"):
        pass
