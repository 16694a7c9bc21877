"""Each answer is made from the state of its own listener, however session-starts of several listeners meet."""

import asyncio
from itertools import permutations

import pytest

from sidestream.models.errors import EngineError
from sidestream.models.history.fold import fold
from sidestream.models.recommend import Recommender, RecommendSettings
from sidestream.models.records import Listen
from sidestream.streams.runtime.clock import LogClock
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.sessions.answerer import Answerer, Pinned
from sidestream.streams.sessions.histories import count_histories
from sidestream.streams.sessions.settings import SessionSettings
from tests.models.recommend.recommending import NOW_MS, VERSION, FakeEngine, ids, plain_shelf, start_of

# Items heard by listener and partition. i0 and i1 are of one creator, as are i2 and i3, and so on.
HEARD = {(0, "ann"): ("i0",), (0, "bob"): ("i2", "i4"), (1, "ann"): ("i6",), (0, "nobody"): (), (1, "stranger"): ()}
SNAPSHOT = plain_shelf(10).snapshot()
# Offsets differ by listener, so that a watermark names one.
FIRST_OFFSETS = {listener: 100 * number for number, listener in enumerate(HEARD)}


def state_of(listener):
    records = [
        (offset, Listen(event_id=f"e{offset}", user_id=listener[1], item_id=item_id, at=NOW_MS + offset))
        for offset, item_id in enumerate(HEARD[listener], FIRST_OFFSETS[listener])
    ]
    return fold(None, records, SNAPSHOT.stored_sid).state if records else None


@pytest.fixture(params=["model", "shed", "engine fails"])
def answer(request):
    """Answers a session-start of a listener: by the model, and by popularity, before its turn or where it fails."""
    metrics, states = Metrics(), {listener: state_of(listener) for listener in HEARD}
    engine = FakeEngine(error=EngineError("a bug") if request.param == "engine fails" else None)
    settings = RecommendSettings(reserved_new=0)
    recommender = Recommender(engine, VERSION, "m", settings, on_history_read=count_histories(metrics))
    answerer = Answerer(
        lambda: Pinned(recommender, SNAPSHOT),
        lambda partition, user_id: states[partition, user_id],
        SessionSettings(deadline_ms=60_000, engine_threads=2),
        metrics,
        LogClock(),
        lambda: 99,
    )

    async def ask(listener, **fields):
        partition, user_id = listener
        start = start_of(session_id=f"s-{partition}", user_id=user_id, num_candidates=10, **fields)
        return await answerer.answer(start, partition, answerer.seconds(), shed=request.param == "shed")

    yield ask
    answerer.close()


def require_own(listener, answer):
    heard = HEARD[listener]
    assert (answer.user_id, answer.session_id) == (listener[1], f"s-{listener[0]}")
    assert answer.state_watermark == (FIRST_OFFSETS[listener] + len(heard) - 1 if heard else -1)
    assert not set(heard) & set(ids(answer))
    related = {f"i{int(item_id[1:]) ^ 1}" for item_id in heard}
    assert {c.item_id for c in answer.candidates if c.familiar} == related
    assert heard or answer.fallback is not None


async def test_listeners_of_one_batch_are_answered_from_their_own_states(answer):
    batch = list(HEARD) * 4
    for listener, found in zip(batch, await asyncio.gather(*map(answer, batch)), strict=True):
        require_own(listener, found)


async def test_consecutive_listeners_are_answered_from_their_own_states(answer):
    for order in permutations(HEARD):
        for listener in order[:2]:
            require_own(listener, await answer(listener))
