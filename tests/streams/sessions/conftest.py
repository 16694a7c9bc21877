"""Session lanes for the tests of this folder, stopped at their end."""

import pytest

from tests.streams.sessions.session_fakes import Bench


@pytest.fixture
async def bench():
    made = []

    async def make(**fields):
        made.append(Bench(**fields))
        await made[-1].lane.start()
        return made[-1]

    yield make
    for one in made:
        for gate in one.answerer.gates.values():
            gate.set()
        await one.lane.stop()
