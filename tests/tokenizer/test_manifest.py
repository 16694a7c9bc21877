import json

import pytest

from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.manifest import MANIFEST_NAME, verify_manifest, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays" / "level_0.npy").write_bytes(b"\x00" * 3_000_000)
    (tmp_path / "empty").write_bytes(b"")
    return tmp_path


def test_manifest_lists_all_files_and_extra_fields(folder):
    written = write_manifest(folder, {"tokenizer_version": "abc"})
    read = verify_manifest(folder)
    assert read == written
    assert sorted(read.files) == ["arrays/level_0.npy", "config.json", "empty"]
    assert read.files["arrays/level_0.npy"].bytes == 3_000_000
    assert read.extra == {"tokenizer_version": "abc"}


def test_manifest_hash_depends_on_content_alone(folder):
    first = write_manifest(folder, {"a": 1, "b": 2})
    assert write_manifest(folder, {"b": 2, "a": 1}) == first
    assert write_manifest(folder, {"a": 1}).content_sha256 != first.content_sha256
    (folder / "config.json").write_text("{ }")
    assert write_manifest(folder, {"a": 1, "b": 2}).content_sha256 != first.content_sha256


def test_manifest_refuses_changed_byte_of_equal_size(folder):
    write_manifest(folder, {})
    with (folder / "arrays" / "level_0.npy").open("r+b") as file:
        file.seek(2_999_999)
        file.write(b"\x01")
    with pytest.raises(ArtifactError, match=r"arrays/level_0\.npy is damaged.*copy it again"):
        verify_manifest(folder)


def test_manifest_refuses_missing_and_unlisted_files(folder):
    write_manifest(folder, {})
    (folder / "extra.npy").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"extra\.npy, which manifest\.json does not list"):
        verify_manifest(folder)
    (folder / "extra.npy").rename(folder / ".hidden")
    verify_manifest(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"lacks config\.json"):
        verify_manifest(folder)


def test_manifest_refuses_its_own_change(folder):
    write_manifest(folder, {"tokenizer_version": "abc"})
    path = folder / MANIFEST_NAME
    path.write_text(path.read_text().replace('"abc"', '"abd"'))
    with pytest.raises(ArtifactError, match="changed by hand"):
        verify_manifest(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "\x00", '{"schema_version": 1, "files": {"a": {"sha256": "x", "bytes": 1}}}']
)
def test_manifest_refuses_unreadable_text(folder, text):
    (folder / MANIFEST_NAME).write_text(text)
    with pytest.raises(ArtifactError, match="is not a readable manifest"):
        verify_manifest(folder)


def test_manifest_refuses_later_layout(folder):
    write_manifest(folder, {})
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2}))
    with pytest.raises(ArtifactError, match="schema version 2, this code reads 1"):
        verify_manifest(folder)


def test_manifest_refuses_missing_folder_and_clashing_names(folder):
    with pytest.raises(ArtifactError, match="is missing"):
        verify_manifest(folder / "nowhere")
    with pytest.raises(ArtifactError, match="has no manifest"):
        verify_manifest(folder)
    with pytest.raises(ArtifactError, match="other names"):
        write_manifest(folder, {"files": 1})
