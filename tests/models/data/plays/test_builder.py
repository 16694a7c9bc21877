"""From plays to a log folder: what a source or a producer repeats is there once."""

import itertools

import pytest

from sidestream.models.data import FolderFacts, LogFolder, LogFolderWriter
from sidestream.models.data.check import check_folder
from sidestream.models.data.manifest import Clock
from sidestream.models.data.plays import FolderBuilder, Play, RowReport, SplitOptions
from sidestream.models.data.plays.holdout import split_statement
from sidestream.models.records import CatalogItem, SessionStart

T = 1_700_000_000_000
MINUTE = 60_000


def built(path, plays, starts=(), rule="none"):
    """Build a folder, check it, and return it with its notes."""
    report, options = RowReport(), SplitOptions(rule)
    with LogFolderWriter(path) as writer:
        for item_id in sorted({play.item for play in plays}):
            writer.item(CatalogItem(item_id=item_id, kind="track", at=T))
        builder = FolderBuilder(writer, options, report, 1 << 20, derive_sessions=not starts)
        for play in plays:
            builder.add(play)
        for start in starts:
            builder.add_start(start)
        builder.build(lambda item: item)
        split = split_statement(options)
        facts = FolderFacts("x", "x", "x", "plays", Clock(kind="real", statement="x"), split, cuts=builder.cuts)
        writer.finish(facts)
    assert check_folder(path).problems == []
    return LogFolder(path), report.notes


def play(number, session_id=None):
    at = T + number * MINUTE
    return Play("u", f"i{number}", at, at, at, session_id=session_id)


# One session alone holds nothing out by rule `session`.
@pytest.mark.parametrize(
    ("sessions", "rule"),
    [
        *itertools.product(["aabba", "ababab", "abcab"], ["none", "last", "session"]),
        ("aaaaa", "none"),
        ("aaaaa", "last"),
    ],
)
def test_a_session_that_the_source_takes_up_again_has_an_id_of_its_own(tmp_path, sessions, rule):
    folder, _ = built(tmp_path / "log", [play(n, name) for n, name in enumerate(sessions)], rule=rule)
    ids = [start.session_id for start in folder.sessions()]
    assert len(set(ids)) == len(ids)
    assert [row.session_id for row in folder.listens()] == list(sessions)[: folder.manifest.counts.listens]


def test_a_session_start_that_was_sent_again_is_there_once(tmp_path):
    first = SessionStart(session_id="s", user_id="u", at=T + 90_000)
    again, next_page = first.model_copy(update={"at": T + 95_000}), first.model_copy(update={"page": 1})
    folder, notes = built(tmp_path / "log", [play(0), play(1)], [again, first, next_page, again])
    assert list(folder.sessions()) == [first, next_page]
    assert notes == ("2 rows left out: the same session-start again",)
