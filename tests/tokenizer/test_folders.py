"""A published folder is complete or missing, even if publishing processes are killed."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidestream.tokenizer import durable, folders
from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.folders import (
    FolderDraft,
    make_inside,
    publish_folder,
    recover_folder,
    recover_folders,
    refuse_any,
    remove_leftovers,
    require_place,
)
from tests.tokenizer.kill_points import check_every_kill, killed

NAMES = ("a.txt", "b.txt", "inner/c.txt")


def accept_all(place):
    pass


def save(place, version, check=accept_all):
    with publish_folder(place, check) as draft:
        (draft / "inner").mkdir()
        for name in NAMES:
            (draft / name).write_text(version)


def load(place):
    recover_folder(place)
    (version,) = {(place / name).read_text() for name in NAMES}
    return version


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("swap", [True, False], ids=["swap", "two renames"])
@pytest.mark.parametrize("reader_first", [True, False], ids=["reader first", "writer first"])
def test_a_kill_at_any_change_leaves_old_or_new_and_never_blocks(tmp_path, swap, reader_first):
    assert check_every_kill(tmp_path, save, load, FileNotFoundError, swap=swap, reader_first=reader_first) > 20


def test_with_a_swap_the_place_is_never_empty(tmp_path):
    place = tmp_path / "place"
    after = 0
    while True:
        save(place, "old")
        with killed(after) as kill:
            save(place, "new")
        assert place.is_dir()
        if not kill.happened:
            break
        after += 1


@pytest.mark.parametrize("swap", [True, False], ids=["swap", "two renames"])
def test_every_file_is_on_disk_before_the_folder_appears_and_the_parent_after(tmp_path, swap, monkeypatch):
    forced = []
    force = durable.force_to_disk
    for module in (durable, folders):
        monkeypatch.setattr(module, "force_to_disk", lambda path: (forced.append(Path(path)), force(path)))
    for name in ("_exchange", "_move_into_place"):
        call = getattr(folders, name)
        if name == "_exchange" and not swap:
            call = lambda *_: False  # noqa: E731
        monkeypatch.setattr(folders, name, lambda *args, call=call, name=name: (forced.append(name), call(*args))[1])
    place = tmp_path / "new" / "parent" / "place"
    with FolderDraft(place) as draft:
        (draft.path / "inner").mkdir()
        for name in NAMES:
            (draft.path / name).write_text("x")
        before = {draft.path / name for name in NAMES} | {draft.path, draft.path / "inner"}
        draft.publish()
    moved = forced.index("_move_into_place")
    assert before <= set(forced[:moved])
    assert {tmp_path, tmp_path / "new", tmp_path / "new" / "parent"} <= set(forced[moved:])


def test_a_folder_that_fails_while_it_is_written_leaves_nothing(tmp_path):
    def fail(place):
        with publish_folder(place) as draft:
            (draft / "a").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "place")
    assert names(tmp_path) == []


def test_an_existing_folder_is_kept_if_the_check_refuses(tmp_path):
    place = tmp_path / "place"
    save(place, "old")
    with pytest.raises(ArtifactError, match="expected a missing or an empty folder"), publish_folder(place):
        pass
    assert (load(place), names(tmp_path)) == ("old", ["place"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with publish_folder(empty) as draft:
        (draft / "a").write_text("x")
    assert names(empty) == ["a"]
    with pytest.raises(ArtifactError, match="expected a missing or an empty folder"):
        FolderDraft(empty / "a")


def test_what_came_to_the_place_meanwhile_is_checked_too(tmp_path):
    place = tmp_path / "place"
    with FolderDraft(place) as draft:
        (draft.path / "a").write_text("ours")
        place.mkdir()
        (place / "diary").write_text("mine")
        with pytest.raises(ArtifactError, match="missing or an empty folder"):
            draft.publish()
    assert (names(place), names(tmp_path)) == (["diary"], ["place"])


def test_a_link_is_followed(tmp_path):
    save(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    save(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert load(tmp_path / "real") == "new"


def test_writers_of_one_place_do_not_meet(tmp_path):
    place = tmp_path / "place"
    with FolderDraft(place, accept_all) as one, FolderDraft(place, accept_all) as other:
        assert one.path != other.path
        (one.path / "who").write_text("one")
        (other.path / "who").write_text("other")
        one.publish()
        assert (place / "who").read_text() == "one"
        other.publish()
        assert (place / "who").read_text() == "other"
    assert names(tmp_path) == ["place"]


def test_many_writers_at_once_leave_one_whole_version(tmp_path):
    place = tmp_path / "place"
    save(place, "0")

    def write(number):
        for turn in range(5):
            save(place, f"{number}-{turn}")

    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(write, number) for number in range(4)]
        while not all(writer.done() for writer in writers):
            assert place.is_dir()
        for writer in writers:
            writer.result()
    assert load(place).endswith("-4")
    assert names(tmp_path) == ["place"]


def test_drafts_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from sidestream.tokenizer.folders import FolderDraft\n"
        "draft = FolderDraft(Path(sys.argv[1])); (draft.path / 'half').write_text('x'); print('up', flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "place")],
        stdout=subprocess.PIPE,
        cwd=Path(folders.__file__).parents[1],
    ) as writer:
        try:
            assert writer.stdout.readline() == b"up\n"
            (left,) = names(tmp_path)
            save(tmp_path / "place", "new")
            remove_leftovers(tmp_path)
            assert names(tmp_path) == [left, "place"]
        finally:
            writer.send_signal(signal.SIGKILL)
    save(tmp_path / "place", "newer")
    assert names(tmp_path) == ["place"]


def test_leftovers_of_all_places_go_at_once(tmp_path):
    for name in (".one.0123abcd.writing", ".other.writing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("x")
    with FolderDraft(tmp_path / "three") as draft:
        remove_leftovers(tmp_path)
        assert names(tmp_path) == [draft.path.name]


def test_what_earlier_releases_left_does_not_block(tmp_path):
    place = tmp_path / "place"
    save(place, "old")
    for left in (".place.old", ".place.writing"):
        (tmp_path / left / "inner").mkdir(parents=True)
        (tmp_path / left / "inner" / "x").write_text("x")
    save(place, "new")
    assert (load(place), names(tmp_path)) == ("new", ["place"])


def test_all_interrupted_replacements_of_a_folder_are_undone(tmp_path):
    for name in ("one", "two"):
        save(tmp_path / name, "old")
        (tmp_path / name).rename(tmp_path / f".{name}.old")
    recover_folders(tmp_path)
    assert names(tmp_path) == ["one", "two"]


@pytest.mark.parametrize("was_made", [False, True], ids=["missing", "made empty by anybody"])
@pytest.mark.parametrize(
    "opens",
    [
        recover_folder,
        lambda place: require_place(place, accept_all),
        lambda place: make_inside(place, "inner"),
        lambda place: FolderDraft(place, accept_all).discard(),
    ],
    ids=["recover_folder", "require_place", "make_inside", "FolderDraft"],
)
def test_the_old_version_is_back_before_anyone_opens_its_place(tmp_path, opens, was_made):
    place = tmp_path / "place"
    save(place, "old")
    place.rename(tmp_path / ".place.old")
    if was_made:
        place.mkdir()
    opens(place)
    assert (load(place), names(tmp_path)) == ("old", ["place"])


def test_a_foreign_folder_does_not_pass_for_the_published_one(tmp_path):
    place = tmp_path / "place"
    save(place, "old")
    place.rename(tmp_path / ".place.old")
    place.mkdir()
    (place / "diary").write_text("mine")
    with pytest.raises(ArtifactError, match="missing or an empty folder"):
        FolderDraft(place)
    recover_folder(place)
    assert names(tmp_path) == [".place.old", "place"]
    (place / "diary").unlink()
    assert load(place) == "old"


def test_a_folder_inside_is_made_with_its_place(tmp_path):
    for _ in range(2):
        assert make_inside(tmp_path / "new" / "place", "inner").is_dir()


@pytest.mark.parametrize("asks", [require_place, FolderDraft])
def test_a_place_where_nothing_can_be_published_is_refused_before_the_work(tmp_path, monkeypatch, asks):
    place = tmp_path / "new" / "place"
    monkeypatch.setattr(os.path, "ismount", lambda path: path == place)
    with pytest.raises(ArtifactError, match=f"{place}: .*got a mount point; name a folder inside it"):
        asks(place, accept_all)
    monkeypatch.undo()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ArtifactError, match=f"no permission to write in {tmp_path}; grant it"):
        asks(place, accept_all)
    assert names(tmp_path) == []
    monkeypatch.undo()
    save(place, "old")
    with pytest.raises(ArtifactError, match="expected a missing or an empty folder"):
        asks(place, refuse_any)


def test_a_reader_that_may_not_rename_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    save(tmp_path / "place", "old")
    (tmp_path / "place").rename(tmp_path / ".place.old")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ArtifactError, match=r"Permission denied.*rename .*\.place\.old to"):
        recover_folder(tmp_path / "place")


def test_a_disk_that_refuses_the_second_rename_keeps_the_old_version(tmp_path, monkeypatch):
    place = tmp_path / "place"
    save(place, "old")
    monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    rename = Path.rename

    def refuse(path, target):
        if path.name.endswith(".writing"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="Input/output"):
        save(place, "new")
    assert (load(place), names(tmp_path)) == ("old", ["place"])


def test_a_system_without_the_call_and_a_disk_without_locks_publish_too(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(folders, "_renameat2", lambda: None)
    monkeypatch.setattr(folders.fcntl, "flock", no_locks)
    save(tmp_path / "place", "old")
    save(tmp_path / "place", "new")
    assert (load(tmp_path / "place"), names(tmp_path)) == ("new", ["place"])
