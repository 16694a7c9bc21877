"""Lanes in the test's own process leave its garbage alone."""

import pytest

from sidestream.streams.listens import lane


@pytest.fixture(scope="package", autouse=True)
def _no_full_collections():
    """Skip the collection at the end of a restore: over the heap of a whole test run it takes a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "collect_and_freeze", lambda: None)
        yield
