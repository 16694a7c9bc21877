import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sidestream.tokenizer.artifact import load_tokenizer, save_tokenizer
from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.fitting import fit_tokenizer, report_sids
from sidestream.tokenizer.manifest import verify_manifest, write_manifest
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.views import text_items
from tests.tokenizer.kill_points import FOLDERS, check_every_kill


@pytest.fixture
def bundle(catalogue, encoder):
    settings = TokenizerSettings(vector_dim=32, collaborative_dim=12, codebook_size=16)
    return fit_tokenizer(*catalogue, encoder, settings, np.random.default_rng(0))


@pytest.fixture
def folder(bundle, catalogue, tmp_path):
    path = tmp_path / "pair" / "tokenizer"
    codes = bundle.encode_items(catalogue[0]).codes
    save_tokenizer(path, bundle, report_sids(bundle.tokenizer, codes))
    return path


def test_artifact_gives_the_same_codes_back(folder, bundle, catalogue, encoder):
    loaded = load_tokenizer(folder, encoder)
    assert loaded.version == bundle.version
    before, after = bundle.encode_items(catalogue[0]), loaded.encode_items(catalogue[0])
    assert np.array_equal(before.codes, after.codes)
    assert np.array_equal(before.vectors, after.vectors)
    assert np.array_equal(before.scales, after.scales)
    assert verify_manifest(folder).extra == {"artifact": "tokenizer", "tokenizer_version": bundle.version}
    assert json.loads((folder / "metrics.json").read_text())["num_items"] == 60


def test_artifact_is_equal_when_written_again(folder, catalogue, encoder, tmp_path):
    loaded = load_tokenizer(folder, encoder)
    codes = loaded.encode_items(catalogue[0]).codes
    save_tokenizer(tmp_path / "other", loaded, report_sids(loaded.tokenizer, codes))
    assert verify_manifest(tmp_path / "other").content_sha256 == verify_manifest(folder).content_sha256


def test_artifact_replaces_an_older_one_and_nothing_else(folder, bundle, catalogue, encoder, tmp_path):
    settings = TokenizerSettings(vector_dim=24, collaborative_dim=8, codebook_size=4)
    newer = fit_tokenizer(*catalogue, encoder, settings, np.random.default_rng(0))
    save_tokenizer(folder, newer)
    assert load_tokenizer(folder, encoder).version == newer.version != bundle.version
    assert [path.name for path in folder.parent.iterdir()] == ["tokenizer"]
    notes = tmp_path / "notes"
    notes.mkdir()
    save_tokenizer(notes, newer)
    shutil.rmtree(notes)
    notes.mkdir()
    (notes / "diary.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="give an empty or a new folder"):
        save_tokenizer(notes, newer)
    write_manifest(notes, {"artifact": "model"})
    with pytest.raises(ArtifactError, match="not an artifact of kind tokenizer, so it is not replaced"):
        save_tokenizer(notes, newer)
    assert (notes / "diary.txt").read_text() == "mine"


@pytest.mark.parametrize("swap", [True, False], ids=["swap", "two renames"])
def test_a_save_killed_at_any_rename_leaves_old_or_new_and_blocks_no_later_save(
    bundle, catalogue, encoder, tmp_path, swap
):
    settings = TokenizerSettings(vector_dim=24, collaborative_dim=8, codebook_size=4)
    other = fit_tokenizer(*catalogue, encoder, settings, np.random.default_rng(0))
    versions = {"old": bundle, "new": other}
    assert check_every_kill(
        tmp_path,
        lambda place, version: save_tokenizer(place, versions[version]),
        lambda place: "old" if load_tokenizer(place, encoder).version == bundle.version else "new",
        ArtifactError,
        swap=swap,
        changes=FOLDERS,
    )


def test_every_file_is_checked(folder, encoder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 3 + 5 + 3
    for path in files:
        original = path.read_bytes()
        path.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        with pytest.raises(ArtifactError, match="again"):
            load_tokenizer(folder, encoder)
        path.unlink()
        with pytest.raises(ArtifactError, match="again"):
            load_tokenizer(folder, encoder)
        path.write_bytes(original)
    load_tokenizer(folder, encoder)


@pytest.mark.parametrize(
    "chosen",
    [{"level_kinds": ("kmeans", "kmeans", "fsq"), "beam_size": 3}, {"level_kinds": ("psrq",) * 3}],
    ids=["fsq after a beam", "psrq"],
)
def test_every_kind_of_level_comes_back(chosen, catalogue, encoder, bundle, tmp_path):
    settings = TokenizerSettings(vector_dim=32, collaborative_dim=12, codebook_size=16, **chosen)
    fitted = fit_tokenizer(*catalogue, encoder, settings, np.random.default_rng(0))
    save_tokenizer(tmp_path / "tokenizer", fitted)
    loaded = load_tokenizer(tmp_path / "tokenizer", encoder)
    assert loaded.version == fitted.version != bundle.version
    assert loaded.tokenizer.level_kinds == fitted.tokenizer.level_kinds
    assert np.array_equal(loaded.encode_items(catalogue[0]).codes, fitted.encode_items(catalogue[0]).codes)


def test_a_wider_beam_is_another_version(bundle):
    tokenizer = bundle.tokenizer
    wide = dataclasses.replace(tokenizer, levels=dataclasses.replace(tokenizer.levels, beam_size=2))
    assert wide.version != tokenizer.version


def test_an_artifact_of_the_first_format_is_read_as_it_was(folder, bundle, catalogue, encoder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("level_kinds") == ["kmeans"] * 3
    assert config.pop("beam_size") == 1
    path.write_text(json.dumps({**config, "format": "sidestream-tokenizer-1"}))
    write_manifest(folder, {"artifact": "tokenizer", "tokenizer_version": bundle.version})
    loaded = load_tokenizer(folder, encoder)
    assert loaded.version == bundle.version
    before, after = bundle.encode_items(catalogue[0]), loaded.encode_items(catalogue[0])
    assert np.array_equal(before.codes, after.codes)


def test_an_artifact_written_by_an_early_release_keeps_its_version_and_codes(wordllama):
    shipped = Path(__file__).parent / "first_format"
    assert json.loads((shipped / "config.json").read_text())["format"] == "sidestream-tokenizer-1"
    loaded = load_tokenizer(shipped, wordllama)
    assert loaded.version == "b5dccfb8a970"
    assert loaded.reference is None
    # Codes that the code of the first format gave.
    codes = loaded.encode_items(text_items(["a", "b", "c"], ["rain on a tin roof", "derby night", ""])).codes
    assert codes.tolist() == [[104, 76, 57], [0, 51, 87], [43, 70, 122]]


def test_the_drift_reference_is_not_part_of_the_version(folder, bundle, encoder):
    loaded = load_tokenizer(folder, encoder)
    assert loaded.reference == bundle.reference
    assert loaded.reference.num_items == 60
    assert "drift.json" in verify_manifest(folder).files
    (folder / "drift.json").unlink()
    write_manifest(folder, {"artifact": "tokenizer", "tokenizer_version": bundle.version})
    older = load_tokenizer(folder, encoder)
    assert (older.reference, older.version) == (None, bundle.version)


def test_a_drift_reference_of_other_codebooks_is_refused(folder, bundle, encoder):
    reference = bundle.reference.model_copy(update={"code_counts": ((60,), (60,), (60,))})
    (folder / "drift.json").write_text(reference.model_dump_json())
    write_manifest(folder, {"artifact": "tokenizer", "tokenizer_version": bundle.version})
    with pytest.raises(ArtifactError, match=r"drift\.json has codebook sizes \(1, 1, 1\)"):
        load_tokenizer(folder, encoder)


def test_another_encoder_is_refused(folder, bundle, encoder):
    with pytest.raises(ArtifactError, match=r"fitted with encoder word-hash .*install that encoder, or fit"):
        load_tokenizer(folder, type(encoder)(dim=48, seed=3))
    with pytest.raises(ArtifactError, match="got wordllama"):
        load_tokenizer(folder)


def test_missing_folder_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="check the path"):
        load_tokenizer(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"vector_dim": 32', '"vector_dim": 33'), "33, and manifest"),
        (lambda text: text.replace("sidestream-tokenizer-3", "sidestream-tokenizer-9"), "not a tokenizer artifact"),
        (
            lambda text: text.replace('"content_share": 0.5', '"content_share": 0.25'),
            "arrays are version",
        ),
        (lambda text: "{", "not a tokenizer artifact"),
    ],
)
def test_a_resealed_change_is_refused_by_the_version(folder, encoder, bundle, change, message):
    # Someone edits a file and writes a new manifest: hashes agree, meaning does not.
    path = folder / "config.json"
    path.write_text(change(path.read_text()))
    write_manifest(folder, {"artifact": "tokenizer", "tokenizer_version": bundle.version})
    with pytest.raises(ArtifactError, match=message):
        load_tokenizer(folder, encoder)


def test_pickled_arrays_are_refused(folder, encoder, bundle):
    np.save(folder / "arrays" / "keys.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    write_manifest(folder, {"artifact": "tokenizer", "tokenizer_version": bundle.version})
    with pytest.raises(ArtifactError, match="not a tokenizer artifact that this version can read"):
        load_tokenizer(folder, encoder)


# Random content vectors into a loaded artifact; prints one hash of all vectors and codes.
_HASH_OF_ENCODING = """
import hashlib, pathlib, sys
import numpy as np
from sidestream.tokenizer.tokenizer import Tokenizer
arrays = {path.stem: np.load(path) for path in pathlib.Path(sys.argv[1], "arrays").glob("*.npy")}
tokenizer = Tokenizer.from_arrays(arrays, content_share=0.5, encoder_name="", encoder_fingerprint="")
content = np.random.default_rng(0).standard_normal((3_000, 48)).astype(np.float32)
vectors = tokenizer.representation.represent(np.arange(3_000, dtype=np.uint64), content)
print(hashlib.sha256(vectors.tobytes() + tokenizer.encode(vectors).tobytes()).hexdigest())
"""


def test_codes_do_not_depend_on_processor_kernels_or_threads(folder):
    # Only kernels that every x86 machine of today has; elsewhere the name is ignored.
    kernels = [("Prescott", "1"), ("Haswell", "1"), ("Haswell", "2")]
    hashes = set()
    for core, threads in kernels:
        env = {**os.environ, "OPENBLAS_CORETYPE": core, "OPENBLAS_NUM_THREADS": threads}
        command = [sys.executable, "-c", _HASH_OF_ENCODING, str(folder)]
        hashes.add(subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert len(hashes) == 1
