"""Lanes in the test's own process open their partitions again at once."""

import pytest

from sidestream.streams.listens import partition_fold


@pytest.fixture(scope="package", autouse=True)
def _short_pauses():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition_fold, "FIRST_PAUSE_S", 0.001)
        yield
