"""The benchmark of a worker that starts behind: its made-up session-starts, and its smallest size on a real Kafka."""

import pytest

from tests.bench.stale.waiting import make_waiting, read_start
from tests.bench.support.rig import partition_of
from tests.bench.support.smoke import last_line

NOW_MS = 1_750_000_000_000
HOUR_MS = 3_600_000


@pytest.mark.slow
@pytest.mark.broker
def test_smallest_size_answers_what_is_fresh_and_nothing_that_is_stale(kafka):
    line = last_line("stale", "--bootstrap", kafka.bootstrap)
    checks = {check["name"]: check["value"] for check in line["checks"]}
    wrong = ("stale_answered", "stale_uncounted", "lost_sessions", "bad_exits")
    assert [checks[name] for name in wrong] == [0, 0, 0, 0], line["results"]
    assert line["results"]["waiting"]["stale"] > 3_000
    assert None not in checks.values()
    assert checks["recounted"] > 0


def test_session_starts_that_wait_are_spread_evenly_over_the_time():
    waiting = make_waiting(3_600, 1.0, 4, NOW_MS)
    for number, (records, stamps) in enumerate(zip(waiting.log, waiting.stamps, strict=True)):
        assert {partition_of(key, 4) for key, _ in records} == {number}
        assert stamps == sorted(stamps)
    assert len(waiting.named(0, NOW_MS)) == 3_600
    assert waiting.named(0, NOW_MS - HOUR_MS) == set()
    assert len(waiting.named(NOW_MS - 60_000, NOW_MS)) == 60
    assert read_start(waiting.log[0][0][1]) in waiting.named(0, NOW_MS)
