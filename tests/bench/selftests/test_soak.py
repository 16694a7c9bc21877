"""The soak: its lines through samples, and its smallest size on a real Kafka."""

import random

import pytest

from tests.bench.peers.mixed import catalogue_change, listens
from tests.bench.peers.progress import num_done
from tests.bench.soak import Samples, by_minute, lags_s, slope
from tests.bench.support.open_loop import Load
from tests.bench.support.rig import partition_of
from tests.bench.support.smoke import last_line
from tests.bench.support.work import read


@pytest.mark.slow
@pytest.mark.broker
def test_smallest_size_ends_with_its_checks(kafka):
    line = last_line("soak", "--bootstrap", kafka.bootstrap)
    values = {check["name"]: check["value"] for check in line["checks"]}
    judged = ["rss_slope_mb_per_hour", "lag_p99_s", "unanswered_sessions", "overload_share", "minutes"]
    assert list(values) == [*judged, "source_ended", "lag_p50_s", "session_p99_ms"]
    assert None not in values.values()
    assert (values["unanswered_sessions"], values["source_ended"]) == (0, 0)


def test_slope_is_that_of_the_line_and_not_of_its_ends():
    at_s = [float(n) for n in range(100)]
    assert slope(at_s, [5.0 + 0.5 * at for at in at_s]) == pytest.approx(0.5)
    assert slope(at_s, [*(1.0 for _ in range(99)), 2.0]) < 0.001
    assert slope([0.0, 1.0], [0.0, 1.0]) is None


def test_warm_up_is_left_out_of_all_samples():
    samples = Samples([0.0, 1.0, 2.0, 3.0], [9.0, 1.0, 1.0, 1.0])
    assert samples.after(0.25) == Samples([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])


def test_lag_is_how_long_the_oldest_listen_waits_that_is_not_done():
    published = [(10.0, 0), (11.0, 100), (12.0, 200), (13.0, 300)]
    done = [(9.0, 0), (10.0, 0), (11.0, 50), (12.0, 50), (12.5, 250), (13.0, 300), (14.0, 300)]
    assert lags_s(published, done) == pytest.approx([0.0, 0.5, 1.5, 0.0, 0.0])


def test_sessions_are_told_by_the_minute_in_which_they_were_due():
    load = Load(scheduled={"a": 10.0, "b": 69.0, "c": 71.0}, answered={"a": 10.01, "b": 69.03, "c": 71.5})
    assert by_minute(load) == [{"p50": 30.0, "p99": 30.0}, {"p50": 500.0, "p99": 500.0}]


def test_made_up_load_can_be_read():
    for _, (partition, key, value) in zip(range(500), listens("a-1", 50, 4), strict=False):
        assert read(value).user_id.encode() == key
        assert partition == partition_of(key, 4)
    rng = random.Random(1)
    assert [catalogue_change(rng, n, 9)[1] is None for n in range(4)] == [False, False, False, True]


def test_only_whole_notes_of_progress_are_read(tmp_path):
    notes = tmp_path / "progress"
    assert num_done(notes) == 0
    for text, done in (("", 0), ("1.5 7", 0), ("1.5 7\n", 7), ("1.5 7\n1.6 1234", 7), ("1.5 7\n" * 99 + "1.6 8\n", 8)):
        notes.write_text(text)
        assert num_done(notes) == done


def test_sources_of_two_names_never_repeat_an_event():
    first, second = ({value for _, (_, _, value) in zip(range(50), listens(name, 5, 1), strict=False)} for name in "ab")
    ids = [{read(value).event_id for value in values} for values in (first, second)]
    assert len(ids[0]) == len(ids[1]) == 50
    assert not ids[0] & ids[1]
