import pytest

from sidestream.streams.errors import LaneError
from sidestream.streams.runtime.stall import StallGuard


class Seconds:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def seconds():
    return Seconds()


def test_a_pause_of_most_of_the_session_timeout_is_an_error(seconds):
    guard = StallGuard("some-topic.v1", 10_000, seconds)
    seconds.now += 8.0
    guard.check()
    seconds.now += 0.1
    with pytest.raises(LaneError, match=r"some-topic\.v1: .* was paused for 8\.1 s, more than 8\.0 s"):
        guard.check()


def test_only_ran_resets_the_pause(seconds):
    guard = StallGuard("t", 10_000, seconds)
    for _ in range(2):
        seconds.now += 5.0
        guard.resume()
    seconds.now += 5.0
    guard.check()
    seconds.now += 5.0
    with pytest.raises(LaneError):
        guard.resume()
    guard.ran()
    guard.check()
