import asyncio

from sidestream.streams.sessions.admission import Admission
from sidestream.streams.sessions.settings import SessionSettings


class Line:
    def __init__(self, **fields):
        self.now_s = 100.0
        self.admission = Admission(SessionSettings(**fields), lambda: self.now_s)

    async def enter(self, waited_s=0.0):
        return await self.admission.enter(self.now_s - waited_s)


async def test_a_free_slot_is_taken_even_at_the_last_moment():
    assert await Line(deadline_ms=100).enter(waited_s=0.2)


async def test_a_request_without_a_slot_before_the_deadline_is_shed():
    line = Line(deadline_ms=20, max_in_flight=1)
    assert await line.enter()
    assert not await line.enter()
    # A released slot goes to the next one.
    line.admission.leave(0.001)
    assert await line.enter()


async def test_slots_go_to_the_oldest_first():
    line, order = Line(deadline_ms=5_000, max_in_flight=1), []

    async def one(name):
        assert await line.enter()
        order.append(name)
        line.admission.leave(0.001)

    assert await line.enter()
    waiting = [asyncio.create_task(one(name)) for name in "abc"]
    await asyncio.sleep(0)
    line.admission.leave(0.001)
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "c"]


async def test_a_request_is_shed_as_soon_as_a_typical_answer_would_be_late():
    line = Line(deadline_ms=1_000, max_in_flight=1)
    for _ in range(50):
        assert await line.enter()
        line.admission.leave(0.4)
    assert await line.enter()
    # 0.3 s are left and an answer takes 0.4: shed now, not at the deadline.
    async with asyncio.timeout(0.2):
        assert not await line.enter(waited_s=0.7)


async def test_an_engine_slower_than_the_deadline_is_still_tried():
    line = Line(deadline_ms=10_000, max_in_flight=1)
    for _ in range(50):
        assert await line.enter()
        line.admission.leave(60.0)
    assert await line.enter()
    waiting = asyncio.create_task(line.enter())
    await asyncio.sleep(0)
    assert not waiting.done()
    line.admission.leave(60.0)
    assert await waiting
