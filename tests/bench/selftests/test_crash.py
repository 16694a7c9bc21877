"""The crash matrix itself: its schedule, its judge, a short run of it, and builds that it has to find out."""

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from tests.bench.crash import SIZES, main
from tests.bench.matrix.builds import BROKEN
from tests.bench.matrix.faults import POINTS, RESTORE_POINTS, TRANSACTIONAL_ONLY
from tests.bench.matrix.judging.judge import Judge
from tests.bench.matrix.judging.tables import Table, is_reserved, read_tables
from tests.bench.matrix.releases import MissingCommit, export
from tests.bench.matrix.schedule import (
    ALONE,
    CASES,
    GROUP_OPERATIONS,
    RANDOM,
    RESTART_OPERATIONS,
    UPGRADE_OPERATIONS,
    make_cells,
)
from tests.bench.matrix.tally import Progress, Tally
from tests.bench.support.harness import Check
from tests.bench.support.rig import ROOT

SMOKE = {"kill": 24, "group": 6, "pause": 4, "refuse": 4, "case": 4, "upgrade": 1, "restart": 2}


def crash(kafka, tmp_path, *options, timeout_s):
    files = ("--state", str(tmp_path / "state.json"), "--result", str(tmp_path / "result.json"))
    answer = subprocess.run(
        [sys.executable, "-m", "tests.bench.crash", "--bootstrap", kafka.bootstrap, *options, *files],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert answer.stdout, answer.stderr[-5_000:]
    line = json.loads(answer.stdout.splitlines()[-1])
    assert json.loads((tmp_path / "result.json").read_text()) == line
    return {check["name"]: Check(**check) for check in line["checks"]}, line["results"]


@pytest.mark.slow
@pytest.mark.broker
def test_short_schedule_leaves_no_trace(kafka, tmp_path):
    # Brokers are restarted by tests of their own; a shallow checkout lacks the release before.
    left_out = ("--restarts", "0", "--upgrades", "0", "--cases", "0")
    sizes = ("--cells", "3", "--kills", "9", "--steps", "3", "--pauses", "1", "--refusals", "1")
    checks, results = crash(kafka, tmp_path, "--smoke", *sizes, *left_out, timeout_s=280)
    wrong = [check for check in checks.values() if not check.ok]
    assert not wrong, results
    # A point that the product no longer comes to is missed every time; a busy machine misses one now and then.
    assert sum(results["missed"].values()) <= 3, results["missed"]
    assert results["compared_keys"] > 2_000
    assert results["compared_counts"] > 200
    assert results["compared_answers"] > results["popular_answers"] > 0
    assert results["erasures"] > 10
    assert results["answers"] >= results["sessions"] > 30
    assert set(results["tables"]) <= {"kept", "lost", "stale"}


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(900)
def test_brokers_and_releases_change_without_a_trace(kafka, tmp_path):
    sizes = ("--kills", "0", "--steps", "0", "--pauses", "0", "--refusals", "0", "--restarts", "4", "--upgrades", "2")
    checks, results = crash(kafka, tmp_path, "--smoke", *sizes, timeout_s=880)
    assert all(check.ok for check in checks.values()), (checks, results)
    assert set(results["cases"]) == set(CASES)
    assert set(results["restarts"]) == set(RESTART_OPERATIONS)
    assert set(results["upgrades"]) == set(UPGRADE_OPERATIONS)


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(7_200)
def test_whole_schedule_leaves_no_trace(kafka, tmp_path):
    checks, results = crash(kafka, tmp_path, timeout_s=7_100)
    assert all(check.ok for check in checks.values()), (checks, results)
    assert set(results["kills"]) == {*POINTS, RANDOM}
    assert set(results["builds"]) == set(BROKEN)


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("name", BROKEN)
def test_broken_build_is_found_by_the_judge(kafka, tmp_path, name):
    checks, results = crash(kafka, tmp_path, "--smoke", "--broken", name, timeout_s=280)
    assert checks["builds_found"].ok, results
    assert sum(results["builds"][name].values()) > 0


def test_schedule_is_made_of_the_seed_alone():
    made = [make_cells(seed, 5, {"kill": 200, "group": 60, "pause": 40}, "exactly_once") for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    steps = sorted((step for cell in made[0] for block in cell for step in block), key=lambda step: step.number)
    assert [step.number for step in steps] == list(range(300))
    found = Counter(step.kind for step in steps)
    assert found == {"kill": 200, "group": 60, "pause": 40}


def test_smallest_schedule_goes_over_nearly_all_points():
    cells = make_cells(7, 5, SMOKE, "exactly_once")
    kills = [step for cell in cells for block in cell for step in block if step.kind == "kill"]
    assert len({step.point for step in kills} & {*POINTS, RANDOM}) >= 20
    assert all(step.table != "kept" for step in kills if step.point in RESTORE_POINTS)
    group = [step for cell in cells for block in cell for step in block if step.kind == "group"]
    assert {step.point for step in group} == set(GROUP_OPERATIONS)


def test_what_needs_three_brokers_or_topics_of_its_own_is_kept_apart():
    *cells, restarts = make_cells(7, 5, {**SMOKE, "restart": 8}, "exactly_once")
    assert {step.kind for block in restarts for step in block} == {"restart"}
    assert {step.point for block in restarts for step in block} == set(RESTART_OPERATIONS)
    others = [block for cell in cells for block in cell]
    assert "restart" not in {step.kind for block in others for step in block}
    assert {step.point for block in others for step in block if step.kind == "case"} == set(CASES)
    assert all(len(block) == 1 for block in others if block[0].kind in ALONE)


def test_release_that_is_not_in_the_checkout_is_named(tmp_path):
    with pytest.raises(MissingCommit, match=r"expected the commit none-such in this checkout.*--upgrades 0"):
        export("none-such", tmp_path)


@pytest.mark.parametrize("smoke", [True, False])
def test_wrong_result_fails_a_run_of_any_size_and_time_a_large_one(smoke, tmp_path, monkeypatch, capsys):
    def seen(bench, rig, progress):
        async def nothing():
            progress.tally.failover_term_s.append(99.0)
            return

        return nothing()

    sizes = [f"--{name.replace('_', '-')}=0" for name in SIZES]
    arguments = [*sizes, "--builds", "no", "--state", str(tmp_path / "state"), "--result", str(tmp_path / "result")]
    monkeypatch.setattr("tests.bench.crash.open_rig", lambda bootstrap: nullcontext())
    monkeypatch.setattr("tests.bench.crash.run", seen)
    assert main([*arguments, "--smoke"] if smoke else arguments) == (0 if smoke else 1)
    monkeypatch.setattr("tests.bench.crash.Progress", lambda options: Progress(options, tally=Tally(wrong_answers=1)))
    assert main([*arguments, "--smoke"] if smoke else arguments) == 1
    capsys.readouterr()


def test_schedule_without_transactions_has_none_of_their_points():
    cells = make_cells(7, 5, {"kill": 100, "pause": 40}, "at_least_once")
    assert not {step.point for cell in cells for block in cell for step in block} & TRANSACTIONAL_ONLY


def test_progress_comes_back_as_it_was_saved(tmp_path):
    progress = Progress({"seed": 3}, {"0": 2}, 1.5, Tally(wrong_keys=1, failover_kill_s=[2.5], failures=["x"]))
    progress.tally.kills.update(["sent", "sent"])
    progress.save(tmp_path / "var" / "state.json")
    loaded = Progress.load(tmp_path / "var" / "state.json")
    assert loaded == progress
    loaded.tally.kills["sent"] += 1
    assert loaded.tally.kills.total() == 3


class Topic:
    """A topic whose next records are given."""

    def __init__(self, *records):
        self.records = [SimpleNamespace(**record) for record in records]

    async def read(self, reach=None, *, whole=False):
        records, self.records = self.records, []
        return records


def changes(*values):
    return Topic(*({"partition": 0, "offset": n, "key": key, "value": value} for n, (key, value) in values))


@pytest.fixture
def judge():
    return Judge(None, build_topics(TopicSettings(prefix="x-")))


async def test_judge_holds_a_table_to_the_offset_that_it_claims(judge):
    judge.users.see = lambda key, value: None  # these are no states
    judge._changes = changes((0, (b"u", b"1")), (1, (b"v", b"1")), (3, (b"u", b"2")), (4, (b"v", None)))
    await judge.read_changelog()
    assert judge.changelog == {b"u": b"2"}
    for offset, entries in [(-1, {}), (0, {b"u": b"1"}), (2, {b"u": b"1", b"v": b"1"}), (9, {b"u": b"2"})]:
        assert judge.wrong_in_table("a", Table(0, offset, entries)) == []
    assert judge.wrong_in_table("a", Table(0, 3, {b"u": b"1", b"v": b"1"})) == ["a/0 at 3: b'u'"]
    assert judge.wrong_in_table("a", Table(0, 2, {b"u": b"1"})) == ["a/0 at 2: b'v'"]
    assert judge.wrong_in_table("a", Table(0, 9, {b"u": b"2", b"v": b"1"})) == ["a/0 at 9: b'v'"]
    assert judge.is_current(Table(0, 4, {}))
    assert not judge.is_current(Table(0, 3, {}))


async def test_judge_compares_every_key_and_leaves_reserved_ones_aside(judge):
    judge.users.see = lambda key, value: None
    judge._changes = changes((0, (b"u", b"1")), (1, (b"\xff\xffmeta", b"1")), (2, (b"\xffu\xff1", b"1")))
    await judge.read_changelog()
    judge.users.entries = {b"u": b"1", b"gone": b"1"}
    assert judge.wrong_in_changelog() == ["changelog: b'gone'", "changelog: b'\\xffu\\xff1'"]
    assert is_reserved(b"")
    assert not is_reserved(b"\xffu")


def test_database_whose_maker_was_killed_in_the_making_is_an_empty_one(tmp_path):
    (tmp_path / "3.db").mkdir()
    assert list(read_tables(tmp_path)) == [Table(3, -1, {})]


def test_judge_counts_dead_letters_that_are_missing_or_there_twice(judge):
    judge.bad.update([("listens", 0, 1), ("listens", 0, 2), ("erasures", 0, 1)])
    judge.letters.update([("listens", 0, 1), ("listens", 0, 2), ("listens", 0, 2)])
    assert judge.wrong_dead_letters(may_repeat=False) == 2
    assert judge.wrong_dead_letters(may_repeat=True) == 1
