import pytest

from sidestream.streams.demo.listener import MAX_TRIES, ask_with_state
from tests.streams.demo.published import answer_of, start_of


class Worker:
    """Pages whose state moves on by one listen at each look, and sessions that are answered from it."""

    def __init__(self, *watermarks, fallbacks=()):
        self.watermarks, self.fallbacks = list(watermarks), list(fallbacks)
        self.now_s, self.asked, self.paths = 0.0, [], []

    @property
    def watermark(self):
        return self.watermarks[0]

    def get(self, path):
        self.paths.append(path)
        state = {"watermarks": {"listens": self.watermark}, "history": [self.watermark]}
        if len(self.watermarks) > 1:
            del self.watermarks[0]
        return (404, {"error": "no listens"}) if state["history"] == [None] else (200, state)

    def ask(self, start):
        self.asked.append(start.session_id)
        fallback = self.fallbacks.pop(0) if self.fallbacks else None
        watermark = -1 if self.watermark is None else self.watermark
        return answer_of("a", start=start, state_watermark=watermark, fallback=fallback)

    def sleep(self, seconds):
        self.now_s += seconds

    def see(self, last_offset, quiet_s=5.0, user="u"):
        start = start_of("shown").model_copy(update={"user_id": user})
        return ask_with_state(start, last_offset, self, self.ask, quiet_s, seconds=lambda: self.now_s, sleep=self.sleep)


def test_it_asks_only_when_the_state_holds_all_that_was_sent():
    worker = Worker(None, 3, 5, 8, 9)
    seen = worker.see(last_offset=8)
    assert seen.state["history"] == [8]
    assert seen.answer.state_watermark >= 8
    assert not seen.behind
    assert worker.asked == ["shown-0"]


def test_a_slow_worker_is_waited_for_as_long_as_its_state_moves():
    watermarks = [number // 50 for number in range(400)]
    worker = Worker(*watermarks, 9)
    seen = worker.see(last_offset=9, quiet_s=5.0)
    assert worker.now_s > 15.0
    assert not seen.behind


def test_a_state_that_does_not_move_is_shown_as_it_is_and_said_to_lag():
    seen = Worker(3).see(last_offset=8, quiet_s=1.0)
    assert seen.state["history"] == [3]
    assert seen.behind


def test_a_listener_without_listens_is_not_waited_for():
    worker = Worker(None)
    seen = worker.see(last_offset=-1)
    assert (worker.now_s, seen.state, seen.behind) == (0.0, {}, False)


@pytest.mark.parametrize("reason", ["overload", "deadline"])
def test_an_answer_that_came_too_late_is_asked_for_again(reason):
    worker = Worker(9, fallbacks=[{"reason": reason}] * 2)
    seen = worker.see(last_offset=9)
    assert seen.answer.fallback is None
    assert worker.asked == ["shown-0", "shown-1", "shown-2"]
    assert seen.start.session_id == "shown-2"


def test_it_does_not_ask_for_ever():
    worker = Worker(9, fallbacks=[{"reason": "overload"}] * 50)
    assert worker.see(last_offset=9).answer.fallback is not None
    assert len(worker.asked) == MAX_TRIES


def test_any_user_id_makes_one_path():
    worker = Worker(9)
    worker.see(last_offset=9, user="a/b ?ü")
    assert worker.paths == ["/v1/users/a%2Fb%20%3F%C3%BC/state"]
