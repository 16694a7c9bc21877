"""Lanes in the test's own process leave its garbage alone."""

import pytest

from sidestream.streams.listens import lane, partition_fold


@pytest.fixture(scope="package", autouse=True)
def _no_full_collections():
    """Skip the collection at the end of a restore: over the heap of a whole test run it takes a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "collect_and_freeze", lambda: None)
        patch.setattr(partition_fold, "FIRST_PAUSE_S", 0.001)
        yield
