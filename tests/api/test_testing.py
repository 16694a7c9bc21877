"""`sidestream.testing`, used as in an external project."""

import subprocess
import sys

import pytest

from sidestream.models.errors import DataError
from sidestream.models.records import Segment
from sidestream.testing import START_AT, STEP_MS

PROJECT = """
def test_a_new_episode_is_recommended(log_folder, replay, demo_pair):
    log = log_folder()
    for number in range(20):
        log.item(f"e{number}", title=f"Episode {number}", kind="episode")
    log.listen("ann", "e3").listen("ann", "e4").session("ann")
    (answer,) = replay(log.write(), demo_pair)
    assert len(answer.candidates) == 10
"""


def test_the_fixtures_work_in_another_project(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["sidestream.testing"]\n')
    (tmp_path / "test_own.py").write_text(PROJECT)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_builder_and_the_replay_need_no_pytest(tmp_path):
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from pathlib import Path; from sidestream.testing import LogFolderBuilder, replay_log\n"
        "from sidestream.streams.demo.shipped import shipped_pair\n"
        "log = LogFolderBuilder(Path('log')).item('a').session('ann').write()\n"
        "print(len(replay_log(log, shipped_pair())))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


def test_events_follow_one_another_and_may_be_given_in_any_order(log_folder):
    log = log_folder().item("b").listen("ann", "b").session("ann")
    first = next(iter(log.write().listens())).at
    late = log_folder().listen("ann", "b", at=first + 10 * STEP_MS).item("b", at=first).listen("ann", "c")
    rows = list(late.write().merged())
    assert [row.topic for row in rows] == ["catalog", "listens", "listens"]
    assert [row.at for row in rows] == [first, first + STEP_MS, first + 10 * STEP_MS]
    assert [row.record.item_id for row in rows[1:]] == ["c", "b"]


def test_the_same_log_is_answered_alike_twice(log_folder, replay, demo_pair):
    log = log_folder()
    for number in range(5):
        log.item(f"e{number}", kind="episode", description="rain and wind")
    folder = log.listen("ann", "e1").session("ann").session("bob").write()
    assert replay(folder, demo_pair) == replay(folder, demo_pair)


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (lambda log: log.item("a", titel="x"), r"titel: unknown field, did you mean title\?"),
        (lambda log: log.listen("u", "a", listened=5), r"listened: unknown field, did you mean listened_ms\?"),
        (lambda log: log.session("u", kind=("episode",)), r"kind: unknown field, did you mean kinds\?"),
        (lambda log: log.item("a", kind="song"), "kind: expected 'track'.*got \"song\""),
        (lambda log: log.item("", at=START_AT), "item_id: expected text of 1 or more characters"),
        (lambda log: log.item("a", at=5), "at: 5 is before 2000-01-01"),
        (lambda log: log.item("a", views={"text": [float("nan")]}), "views.text.0: expected a number, got null"),
        (lambda log: log.removal("a", at=5), "at: 5 is before"),
        (lambda log: log.removal("x" * 257), "item_id: expected text of at most 256"),
        (lambda log: log.listen("u", "a", at=5), "at: 5 is before 2000-01-01"),
        (lambda log: log.listen("u", "a", at=START_AT // 1_000), "looks like seconds"),
        (lambda log: log.listen("u", "a", signal="hum"), "signal: expected 'listen'"),
        (lambda log: log.listen("u", "a", listened_ms=-1), "listened_ms: expected 0 or more, got -1"),
        (lambda log: log.listen("u", 7), "item_id: expected text, got 7"),
        (lambda log: log.listen("", "a"), "user_id: expected text of 1 or more"),
        (lambda log: log.session("u", num_candidates=0), "num_candidates: expected 1 or more, got 0"),
        (lambda log: log.session("u", at=5), "at: 5 is before"),
    ],
)
def test_what_a_reader_would_refuse_is_refused_where_it_is_added(log_folder, add, words):
    """A misspelt field was ignored, and `at=5` was written: only reading the folder failed."""
    log = log_folder().item("first")
    with pytest.raises(DataError, match=words):
        add(log)
    # What was refused leaves nothing behind.
    folder = log.item("last").write()
    assert [(row.key, row.at) for row in folder.merged()] == [("first", START_AT), ("last", START_AT + STEP_MS)]


def test_values_that_are_no_json_are_taken_like_before(log_folder):
    segment = Segment(start_ms=0, end_ms=5, text="rain")
    folder = log_folder().item("a", tags=("x", "y"), segments=[segment], creator=None).write()
    (event,) = folder.catalog()
    assert (event.item.tags, event.item.segments) == (("x", "y"), (segment,))
