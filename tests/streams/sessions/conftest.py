"""Session lanes for the tests of this folder, stopped at their end."""

import pytest

from sidestream.streams.sessions import lane
from tests.streams.sessions.session_fakes import Bench


@pytest.fixture(scope="package", autouse=True)
def _no_full_collections():
    """Skip the collection at the start of a lane: over the heap of a whole test run it takes a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "collect_and_freeze", lambda: None)
        yield


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
