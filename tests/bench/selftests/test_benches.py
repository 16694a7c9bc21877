"""The benchmarks themselves: each runs in its smallest size on a real Kafka and ends with the line that is promised."""

import argparse
import importlib
import json
import operator

import pytest

from sidestream.models.history import fold
from tests.bench.layout_study.traced_worker import PATHS
from tests.bench.sessions import drain_times
from tests.bench.support.harness import (
    Bench,
    alternate,
    at_least,
    at_most,
    lane_overrides,
    median_ratio,
    percentile,
    told,
)
from tests.bench.support.open_loop import Load
from tests.bench.support.rig import ROOT, make_log, partition_of, pure_fold
from tests.bench.support.smoke import last_line
from tests.bench.support.work import fold_one, lookup, read

CHECKS = {
    "listens": (
        [
            "lane_vs_bare",
            "rate_vs_bare",
            "counts_cost",
            "stock_vs_lane",
            "quix_vs_lane",
            "value_bytes",
            "listens_per_s",
            "blocks_cost",
            "steady_core_share",
        ],
        ("--peers", "bare,stock,long,uncounted"),
    ),
    "sessions": (
        [
            "backlog_vs_idle",
            "drain_share",
            "backlog_sessions",
            "idle_p99_ms",
            "backlog_p99_ms",
            "backlog_drain_per_s",
            "stock_backlog_p99_ms",
        ],
        (),
    ),
    "catalogue": (
        [
            "bytes_per_item_1m",
            "text_bytes_per_item_1m",
            "merge_vs_rebuild_1m",
            "start_s_1m",
            "cold_cpu_s_1m",
            "swap_ms",
            "visible_p99_s",
            "invalid_sids",
            "popularity_cpu_s_1m",
            "dict_trie_build_vs_ours",
            "dict_trie_bytes_vs_ours",
        ],
        (),
    ),
    "rollout": (
        [
            "rollout_p99_vs_steady",
            "steady_p99_ms",
            "rollout_p99_ms",
            "mixed_versions",
            "unanswered",
            "sets_of_both",
        ],
        (),
    ),
    "layout": (
        [
            "files_listen",
            "files_item",
            "files_session",
            "files_item_with_threads",
            "files_session_with_threads",
            "help_vs_typer",
            "get_vs_typer",
            "get_table_vs_typer",
            "readme_kb",
            "folders_wide",
            "collisions",
        ],
        (),
    ),
    "recovery": (["recovery_per_s", "bulk_vs_stock", "recovery_vs_floor"], ()),
    "tokenize": (["items_per_s", "item_p99_ms", "item_cpu_us"], ("--parts", "items")),
}


def test_tokenize_ends_with_its_checks():
    line = last_line("tokenize", "--parts", "codes")
    assert [check["name"] for check in line["checks"]] == ["single_vs_faiss", "bulk_vs_faiss", "same_codes"]
    assert all(row["ours_single_us"] > 0 and row["ours_bulk_per_s"] > 0 for row in line["results"].values())


@pytest.mark.slow
def test_layout_measures_commands_in_seconds():
    line = last_line("layout", "--parts", "commands")
    assert [check["name"] for check in line["checks"]] == ["help_vs_typer", "get_vs_typer", "get_table_vs_typer"]
    assert all(check["value"] > 0 for check in line["checks"])


def is_there(place):
    """Whether a place is a file or folder of ours, or `file:function` with the function's full name."""
    file, _, name = place.partition(":")
    if not name:
        return (ROOT / file).exists()
    module = importlib.import_module("sidestream." + file.removesuffix(".py").replace("/", "."))
    return operator.attrgetter(name)(module).__code__.co_qualname == name


@pytest.mark.parametrize("way", PATHS.values(), ids=PATHS)
def test_the_ways_that_are_followed_are_of_functions_that_exist(way):
    assert [place for place in (way.first, way.last, *way.roots) if not is_there(place)] == []


@pytest.mark.slow
def test_live_ends_with_its_checks():
    line = last_line("live")
    assert [check["name"] for check in line["checks"]] == [
        "shift_windows",
        "steady_changes",
        "ended_streams",
        "restart_differences",
        "churn_per_item_hour",
        "ended_candidates",
    ]
    assert all(check["ok"] for check in line["checks"])
    # The controls: a worker was killed, and the snapshot before a swap does offer what has just ended.
    assert line["results"]["restarts"]["kills"] > 0
    assert line["results"]["ended"]["ended_before_the_swap"] > 0


@pytest.mark.broker
@pytest.mark.parametrize(
    "bench", ["recovery", *(pytest.param(name, marks=pytest.mark.slow) for name in CHECKS if name != "recovery")]
)
def test_smallest_size_ends_with_its_checks(kafka, bench):
    names, options = CHECKS[bench]
    line = last_line(bench, "--bootstrap", kafka.bootstrap, *options)
    assert line["machine"]["cores"] >= 1
    assert [check["name"] for check in line["checks"]] == names
    assert all(set(check) == {"name", "value", "limit", "ok"} for check in line["checks"])
    unmeasured = {check["name"] for check in line["checks"] if check["value"] is None}
    # A backlog of this size is gone before a full second is, and quixstreams is not fetched for a test.
    assert unmeasured <= {"quix_vs_lane", "backlog_p99_ms", "backlog_drain_per_s"}


def test_checks_hold_values_to_their_limits():
    assert at_most("a", 1.4, 1.4).ok
    assert not at_most("a", 1.41, 1.4).ok
    assert at_least("a", 15, 15).ok
    assert not at_least("a", 14.9, 15).ok
    assert not at_most("a", None, 1).ok
    assert not at_least("a", None, 1).ok
    assert told("a", None).ok


@pytest.mark.parametrize(("smoke", "correct", "code"), [(False, (), 1), (True, (), 0), (True, ("lost",), 1)])
def test_smallest_size_is_judged_by_what_holds_at_any_size(capsys, smoke, correct, code):
    bench = Bench("bench", argparse.Namespace(smoke=smoke, result=None))
    bench.checks = [at_most("seconds", 1, 2), at_most("lost", 1, 0)]
    assert bench.finish(*correct) == code
    assert json.loads(capsys.readouterr().out)["bench"] == "bench"


def test_rounds_alternate_their_order():
    seen = []
    runs = alternate({name: lambda n, name=name: seen.append((n, name)) or n for name in "abc"}, 3, lambda text: None)
    assert [name for _, name in seen] == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]
    assert runs == {"a": [0, 1, 2], "b": [0, 1, 2], "c": [0, 1, 2]}


def test_ratios_are_made_within_rounds():
    # One slow round moves both sides: the ratio of sums would be 1.9.
    assert median_ratio([2, 200, 3], [1, 100, 2]) == 2
    assert median_ratio([], []) is None


def test_percentile_takes_no_better_value_than_asked():
    assert percentile(range(100), 0.99) == 99
    assert percentile(range(1_000), 0.99) == 990
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.5) is None


def test_open_loop_measures_from_the_schedule_and_counts_open_answers():
    load = Load(scheduled={"a": 1.0, "b": 2.0, "c": 3.0}, answered={"a": 1.5, "c": 3.25})
    assert load.unanswered == 1
    assert load.latencies_ms(1.0, 3.0, give_up_s=10.0) == [500.0, 8_000.0]


def test_open_loop_takes_the_first_answer_to_its_own_questions():
    load = Load(scheduled={"a": 1.0})
    for session, at_s in (("stranger", 1.5), ("a", 2.0), ("a", 3.0)):
        load.take(session, at_s)
    assert (load.answered, load.unanswered) == ({"a": 2.0}, 0)


def test_drain_is_judged_by_its_full_seconds():
    # Half a second apart; a thousand listens became durable in two steps, and nothing is noted in between.
    counts = (0, 0, 0, 0, 400, 400, 400, 400, 1_000, 1_000)
    samples = [(number / 2, count) for number, count in enumerate(counts)]
    first, last, rates = drain_times(samples, 1_000)
    assert (first, last) == (1.5, 4.0)
    assert rates == [550.0, 300.0]
    assert drain_times([(0.0, 0), (0.1, 50)], 50)[2] == []


def test_unknown_lane_setting_is_refused():
    assert lane_overrides(["batch_ms=50"]) == {"batch_ms": "50"}
    with pytest.raises(SystemExit, match="no such setting: speed"):
        lane_overrides(["speed=9"])


def test_log_is_repeatable_partitioned_and_folds_the_same_one_by_one():
    log = make_log(5_000, 100, 4, seed=3)
    other = make_log(5_000, 100, 4, seed=4)
    assert sum(len(records) for records in log) == 5_000
    assert all(partition_of(key, 4) == number for number, records in enumerate(log) for key, _ in records)
    bad = [value for records in log for _, value in records if read(value) is None]
    assert len(bad) == 5
    ids = [{read(v).event_id for records in made for _, v in records if read(v)} for made in (log, other)]
    assert not ids[0] & ids[1]
    states: dict[bytes, bytes] = {}
    for records in log:
        for offset, (key, value) in enumerate(records):
            if (listen := read(value)) is not None:
                states[key] = fold_one(states.get(key), offset, listen)
    assert states == pure_fold(log)
    assert fold(None, [(0, read(log[0][0][1]))], lookup).applied == 1
