"""How long a starting worker is waited for."""

import pytest

from sidestream.streams.errors import SidestreamError
from sidestream.streams.worker.process import WorkerProcess


class Starting(WorkerProcess):
    """A worker that gives its reasons one after the other, and the last one for ever."""

    def __init__(self, *reasons):
        self.log_file = "worker.log"
        self.reasons = list(reasons)

    def require_running(self):
        pass

    def readiness(self):
        reason = self.reasons.pop(0) if len(self.reasons) > 1 else self.reasons[0]
        return reason == "", [reason]


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("sidestream.streams.worker.process.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "sidestream.streams.worker.process.time.sleep", lambda seconds: now.__setitem__(0, now[0] + 4.0)
    )


def test_a_worker_is_waited_for_as_long_as_it_gets_on():
    told = []
    Starting(*(f"behind by {left}" for left in range(9, 0, -1)), "").wait_ready(10.0, told.append)
    assert len(told) == 9


@pytest.mark.parametrize("reasons", [("stuck",), ("one", "other") * 50 + ("one",)])
def test_a_worker_that_does_not_get_on_is_given_up(reasons):
    with pytest.raises(SidestreamError, match=r"not ready, no progress for 10 s: \w+ \(log: worker\.log\)"):
        Starting(*reasons).wait_ready(10.0)
