import threading
import time

import pytest

from sidestream.models.errors import StateError
from sidestream.models.records import Candidate, CandidateSet, Fallback, SessionStart
from sidestream.streams.errors import LaneError
from sidestream.streams.runtime.clock import LogClock
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.sessions.answerer import Answerer, Pinned
from sidestream.streams.sessions.settings import SessionSettings

AT = 1_700_000_000_000
START = SessionStart(session_id="s", user_id="u", at=AT)


def candidate_set(reason=None):
    candidate = Candidate(item_id="i", sid="1-2", rank=0, score=1.0, log_prob=None if reason else -1.0, familiar=False)
    return CandidateSet(
        candidate_set_id="id",
        session_id="s",
        user_id="u",
        requested_at=AT,
        produced_at=0,
        model_version="m",
        tokenizer_version="t",
        catalogue_version="c",
        state_watermark=-1,
        discovery="any",
        candidates=(candidate,),
        fallback=Fallback(reason=reason) if reason else None,
    )


class FakeRecommender:
    def __init__(self, error=None, block=None, fallback_errors=()):
        self.error, self.block, self.calls = error, block, []
        self.fallback_errors = list(fallback_errors)

    def recommend(self, start, state, snapshot, now_ms, steps):
        self.calls.append(("recommend", state, snapshot, now_ms))
        if self.block is not None:
            self.block.wait(10)
        if self.error is not None:
            raise self.error
        with steps.time("engine"):
            return candidate_set()

    def fall_back(self, start, state, snapshot, now_ms, reason, steps):
        self.calls.append(("fall_back", state, snapshot, now_ms))
        if self.fallback_errors:
            raise self.fallback_errors.pop(0)
        return candidate_set(reason)


@pytest.fixture
def make():
    made = []

    def build(recommender, states=None, **fields):
        def state(partition, user_id):
            if isinstance(states, Exception):
                raise states
            return (states or {}).get((partition, user_id))

        settings = SessionSettings(**{"deadline_ms": 5_000, "engine_threads": 2, **fields})
        metrics = Metrics()
        made.append(Answerer(lambda: Pinned(recommender, "snapshot"), state, settings, metrics, LogClock(), lambda: 99))
        return made[-1], metrics

    yield build
    for answerer in made:
        answerer.close()


def counted(metrics, outcome):
    return metrics.sessions.labels(outcome)._value.get()


async def test_the_answer_comes_from_the_recommender_with_state_and_event_time(make):
    recommender = FakeRecommender()
    answerer, metrics = make(recommender, {(3, "u"): b"state"})
    fetched_s = answerer.seconds() - 0.5
    answer = await answerer.answer(START, 3, fetched_s)
    assert recommender.calls == [("recommend", b"state", "snapshot", AT)]
    assert answer.fallback is None
    assert answer.produced_at == 99
    assert {"queue", "state", "engine", "total"} <= answer.timings_ms.keys()
    assert answer.timings_ms["queue"] >= 500
    assert answer.timings_ms["total"] >= answer.timings_ms["queue"]
    assert counted(metrics, "model") == 1
    assert metrics.candidates.labels("ranked")._value.get() == 1


async def test_the_warm_up_is_not_counted(make):
    recommender = FakeRecommender()
    answerer, metrics = make(recommender)
    await answerer.warm_up()
    assert recommender.calls == [("recommend", None, "snapshot", 0)]
    assert counted(metrics, "model") == 0


async def test_a_hanging_engine_is_answered_by_the_fallback_at_the_deadline(make):
    release = threading.Event()
    answerer, metrics = make(FakeRecommender(block=release), deadline_ms=50, engine_threads=1)
    try:
        begun_s = time.perf_counter()
        # The second one never gets an engine thread: fallbacks have a separate one.
        for _ in range(2):
            answer = await answerer.answer(START, 0, answerer.seconds())
            assert answer.fallback.reason == "deadline"
            assert answer.timings_ms["engine"] >= 45
        assert time.perf_counter() - begun_s < 5
        assert counted(metrics, "deadline") == 2
    finally:
        release.set()


async def test_an_invalid_state_is_answered_without_it(make):
    recommender = FakeRecommender(error=StateError("bad bytes"))
    answerer, metrics = make(recommender, {(0, "u"): b"junk"})
    answer = await answerer.answer(START, 0, answerer.seconds())
    assert answer.fallback.reason == "state_error"
    assert recommender.calls[-1] == ("fall_back", None, "snapshot", AT)
    assert counted(metrics, "state_error") == 1


async def test_a_bug_in_the_model_gives_the_fallback(make):
    recommender = FakeRecommender(error=ZeroDivisionError())
    answerer, metrics = make(recommender, {(0, "u"): b"state"})
    answer = await answerer.answer(START, 0, answerer.seconds())
    assert answer.fallback.reason == "engine_error"
    assert recommender.calls[-1] == ("fall_back", b"state", "snapshot", AT)
    assert counted(metrics, "engine_error") == 1


async def test_a_late_engine_with_an_invalid_state_still_gives_an_answer(make):
    """The deadline comes first, before the state is found to be damaged."""
    release = threading.Event()
    recommender = FakeRecommender(block=release, fallback_errors=[StateError("bad bytes")])
    answerer, metrics = make(recommender, {(0, "u"): b"junk"}, deadline_ms=20)
    try:
        answer = await answerer.answer(START, 0, answerer.seconds())
    finally:
        release.set()
    assert answer.fallback.reason == "state_error"
    assert [call[:2] for call in recommender.calls[1:]] == [("fall_back", b"junk"), ("fall_back", None)]
    assert counted(metrics, "state_error") == 1


async def test_a_bug_that_also_breaks_the_fallback_is_answered_without_the_state(make):
    recommender = FakeRecommender(error=IndexError(), fallback_errors=[IndexError()])
    answerer, metrics = make(recommender, {(0, "u"): b"state"})
    answer = await answerer.answer(START, 0, answerer.seconds())
    assert answer.fallback.reason == "engine_error"
    assert recommender.calls[-1] == ("fall_back", None, "snapshot", AT)
    assert counted(metrics, "engine_error") == 1


async def test_a_shed_session_never_reaches_the_model_and_gives_the_reason(make):
    recommender = FakeRecommender()
    answerer, metrics = make(recommender, {(0, "u"): b"state"})
    answer = await answerer.answer(START, 0, answerer.seconds(), shed=True, listens_missing=3)
    assert [call[:2] for call in recommender.calls] == [("fall_back", b"state")]
    assert answer.fallback.reason == "overload"
    assert b'"listens_missing":3' in answer.to_json()
    assert counted(metrics, "overload") == 1


async def test_an_answer_with_all_listens_reports_none_missing(make):
    answerer, _ = make(FakeRecommender())
    assert b"listens_missing" not in (await answerer.answer(START, 0, answerer.seconds())).to_json()


async def test_a_closed_table_is_left_to_the_lane(make):
    answerer, _ = make(FakeRecommender(), LaneError("not open"))
    with pytest.raises(LaneError):
        await answerer.answer(START, 0, answerer.seconds())
