"""`sidestream.testing`, used as in an external project."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from sidestream.testing import STEP_MS

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


@pytest.mark.parametrize(
    "add", [lambda log: log.item("b", titel="B"), lambda log: log.session("ann", kind=("episode",))]
)
def test_a_misspelt_field_is_refused(log_folder, add):
    with pytest.raises(ValidationError, match=r"titel|kind"):
        add(log_folder())


def test_the_same_log_is_answered_alike_twice(log_folder, replay, demo_pair):
    log = log_folder()
    for number in range(5):
        log.item(f"e{number}", kind="episode", description="rain and wind")
    folder = log.listen("ann", "e1").session("ann").session("bob").write()
    assert replay(folder, demo_pair) == replay(folder, demo_pair)
