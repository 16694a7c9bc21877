"""Workers with one data folder have a folder each, and reuse it after a restart."""

from pathlib import Path

import pytest

from sidestream.streams.errors import SettingsError
from sidestream.streams.settings import Settings, load_settings
from sidestream.streams.worker.folder import own_folder, worker_folder, worker_folders


def settings_for(folder: Path, **flags) -> Settings:
    return load_settings({"data_dir": str(folder), "worker.app_id": "app", **flags}, env={})[0]


def test_the_first_worker_keeps_the_folder_of_earlier_versions(tmp_path: Path) -> None:
    assert worker_folder(settings_for(tmp_path)) == tmp_path / "worker" / "app"


def test_concurrent_workers_have_separate_folders(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with own_folder(settings) as first:
        with own_folder(settings) as second:
            assert (first.worker.instance, second.worker.instance) == (1, 2)
            assert worker_folder(second) == tmp_path / "worker" / "app@2"
        with own_folder(settings) as again:
            assert again.worker.instance == 2
    with own_folder(settings) as again:
        assert again.worker.instance == 1
    assert worker_folders(settings) == [tmp_path / "worker" / "app", tmp_path / "worker" / "app@2"]
    assert worker_folders(settings_for(tmp_path, **{"worker.instance": 2})) == [tmp_path / "worker" / "app@2"]


def test_an_instance_that_runs_already_is_refused(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **{"worker.instance": 3})
    with own_folder(settings) as held:
        assert held == settings
        with pytest.raises(SettingsError, match=r"worker\.instance=3.*one runs there"), own_folder(settings):
            pass


def test_other_groups_are_other_folders(tmp_path: Path) -> None:
    (tmp_path / "worker" / "app.2").mkdir(parents=True)
    (tmp_path / "worker" / "app@x").mkdir()
    assert worker_folders(settings_for(tmp_path)) == [tmp_path / "worker" / "app"]
