"""The alignment map: translation by SIDs and prefixes, agreement, and its folder."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.errors import ArtifactError, TokenizerError
from sidestream.tokenizer.generations import Alignment, VersionCodes, align, load_alignment
from sidestream.tokenizer.generations.alignment_fit import match_codes
from sidestream.tokenizer.manifest import write_manifest
from tests.tokenizer.kill_points import FOLDERS, check_every_kill

OLD, NEW = "0123456789ab", "ba9876543210"


def coded(version, sizes, *sids):
    return VersionCodes(version, sizes, np.array(sids, dtype=np.int32).reshape(-1, len(sizes)))


@pytest.fixture
def made():
    old = coded(OLD, (4, 4), (0, 0), (0, 0), (0, 0), (0, 1), (2, 3))
    new = coded(NEW, (3, 5, 2), (1, 1, 1), (1, 4, 0), (1, 4, 0), (1, 2, 1), (0, 3, 1))
    return align(old, new)


def test_a_sid_becomes_what_most_items_on_it_became(made):
    assert made.translate(np.array([[0, 0], [0, 1], [2, 3]], np.int32)).tolist() == [[1, 4, 0], [1, 2, 1], [0, 3, 1]]


def test_a_sid_that_no_item_had_is_read_by_its_longest_known_prefix(made):
    assert made.translate(np.array([[0, 3], [2, 0]], np.int32)).tolist() == [[1, 4, 0], [0, 3, 1]]


@pytest.mark.parametrize("sid", [(1, 0), (3, 3), (4, 0), (-1, 0), (65_535, 65_535)])
def test_a_first_code_that_no_item_had_stays_unknown(made, sid):
    assert made.translate(np.array([sid], np.int32)).tolist() == [[-1, -1, -1]]


def test_a_code_beyond_its_level_is_no_other_prefix(made):
    # Place of prefix 0 times 4 plus 4 is the first child of prefix 1.
    assert made.translate(np.array([[0, 7]], np.int32)).tolist() == [[1, 4, 0]]


def test_the_first_codes_of_a_target_are_what_most_items_say_code_by_code():
    # Most frequent whole SID is (0, 0); most items begin with 1.
    old = coded(OLD, (2,), (0,), (0,), (0,), (0,), (0,))
    new = coded(NEW, (2, 4), (0, 0), (0, 0), (1, 1), (1, 2), (1, 3))
    assert align(old, new).translate(np.zeros((1, 1), np.int32)).tolist() == [[1, 1]]


def test_sids_of_another_length_are_refused(made):
    with pytest.raises(TokenizerError, match=r"expected shape \(num_sids, 2\), got \(1, 3\)"):
        made.translate(np.zeros((1, 3), np.int32))


def test_versions_must_encode_the_same_items():
    with pytest.raises(TokenizerError, match="got 1 and 2"):
        align(coded(OLD, (2,), (0,)), coded(NEW, (2,), (0,), (1,)))
    with pytest.raises(TokenizerError, match="got 0 and 0"):
        align(coded(OLD, (2,)), coded(NEW, (2,)))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40), st.randoms()
)
@settings(deadline=None)
def test_renamed_codes_are_translated_back(sids, random):
    # The new version is the old one under other names of its codes, in each level: every stored SID is read right.
    names = [random.sample(range(4), 4) for _ in range(3)]
    old = coded(OLD, (4, 4, 4), *sids)
    new = coded(NEW, (4, 4, 4), *[[names[level][code] for level, code in enumerate(sid)] for sid in sids])
    made = align(old, new)
    assert np.array_equal(made.translate(old.codes), new.codes)
    assert made.agreement["seen"] == (1.0, 1.0, 1.0)
    assert made.agreement["code_maps"] == (1.0, 1.0, 1.0)


def test_agreement_on_unseen_items_is_chance_where_versions_have_nothing_in_common():
    rng = np.random.default_rng(1)
    old, new = (VersionCodes(name, (8, 8), rng.integers(0, 8, (2_000, 2)).astype(np.int32)) for name in (OLD, NEW))
    agreement = align(old, new).agreement
    assert agreement["unseen"][0] == pytest.approx(1 / 8, abs=0.03)
    assert agreement["seen"][0] > agreement["unseen"][0] + 0.05
    assert agreement["chance"][0] == pytest.approx(1 / 8, abs=0.03)


def test_agreement_on_unseen_items_counts_the_unknown():
    sids = [(n, 0) for n in range(6)]
    agreement = align(coded(OLD, (6, 1), *sids), coded(NEW, (6, 1), *sids)).agreement
    assert (agreement["seen"], agreement["unseen"], agreement["unseen_unknown"]) == ((1.0, 1.0), (0.0, 0.0), 1.0)


def test_codes_are_matched_one_to_one_by_common_items():
    old = np.array([0] * 5 + [1] * 4 + [2])
    new = np.array([2] * 5 + [2] * 3 + [0] + [2])
    assert match_codes(old, new, 4, 3).tolist() == [2, 0, -1, -1]


def test_a_saved_map_is_loaded_again(made, tmp_path):
    for _ in range(2):  # the second time over the first
        made.save(tmp_path / "alignment")
    again = load_alignment(tmp_path / "alignment", old_version=OLD, new_version=NEW)
    codes = np.array([(a, b) for a in range(4) for b in range(4)], np.int32)
    assert np.array_equal(again.translate(codes), made.translate(codes))
    assert (again.old_version, again.new_version, again.old_sizes, again.new_sizes) == (OLD, NEW, (4, 4), (3, 5, 2))
    assert again.agreement == json.loads(json.dumps(made.agreement))
    assert [codes.tolist() for codes in again.code_maps] == [codes.tolist() for codes in made.code_maps]


def test_a_map_between_other_versions_is_refused(made, tmp_path):
    made.save(tmp_path / "alignment")
    with pytest.raises(ArtifactError, match=f"expected a map {OLD} -> {OLD}, got {OLD} -> {NEW}"):
        load_alignment(tmp_path / "alignment", new_version=OLD)


def test_a_damaged_map_is_refused(made, tmp_path):
    made.save(tmp_path / "alignment")
    array = tmp_path / "alignment" / "arrays" / "targets_00.npy"
    array.write_bytes(array.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ArtifactError, match="targets_00"):
        load_alignment(tmp_path / "alignment")


def test_another_artifact_is_neither_read_nor_replaced(made, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    write_manifest(tmp_path / "other", {"artifact": "model"})
    with pytest.raises(ArtifactError, match="not an artifact of kind alignment, so it is not replaced"):
        made.save(tmp_path / "other")
    with pytest.raises(ArtifactError, match="not an alignment"):
        load_alignment(tmp_path / "other")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nodes": ((0, 9), (0,))}, "prefixes of 1 codes"),
        ({"targets": (((9,),), ((0,),))}, "targets of prefixes of 1 codes"),
        ({"code_maps": ((0, 0),)}, "twice"),
        ({"code_maps": ()}, "one map of codes"),
        ({"nodes": ((0,),)}, "each of 2 levels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed, message):
    arrays = {"nodes": ((0,), (0,)), "targets": (((0,),), ((0,),)), "code_maps": ((0, -1),)} | changed
    kinds = {"nodes": np.int64, "targets": np.uint16, "code_maps": np.int32}
    given = {name: tuple(np.array(array, kinds[name]) for array in group) for name, group in arrays.items()}
    with pytest.raises(TokenizerError, match=message):
        Alignment(OLD, NEW, (2, 2), (2,), **given)


def test_a_save_killed_at_any_rename_leaves_the_old_map_or_the_new(made, tmp_path):
    def save(place, version):
        dataclasses.replace(made, agreement={"what": version}).save(place)

    def load(place):
        return load_alignment(place).agreement["what"]

    assert check_every_kill(tmp_path, save, load, ArtifactError, swap=False, changes=FOLDERS)
