"""Which records of a recording belong to erased users."""

import pytest

from sidestream.streams.operate.recording.erased import ErasedUsers
from sidestream.streams.operate.recording.spool import Spooled

AT = 1_800_000_000_000
BEGINS = {("listens", 0): 10, ("sessions", 0): 0}


@pytest.mark.parametrize("kind", ["listens", "sessions"])
@pytest.mark.parametrize(("at", "is_erased"), [(AT - 1, True), (AT, True), (AT + 1, False)])
def test_an_erasure_takes_everything_up_to_its_time(kind, at, is_erased):
    erased = ErasedUsers(until={"u": AT})
    assert erased.holds(Spooled(kind, 0, 50, at, "u", b""), BEGINS) == is_erased
    assert not erased.holds(Spooled(kind, 0, 50, at, "other", b""), BEGINS)


@pytest.mark.parametrize(
    ("kind", "offset", "at", "is_erased"),
    [
        ("listens", 9, AT, True),
        ("listens", 10, AT, False),
        ("listens", 9, AT + 1, False),
        ("sessions", 10, AT, True),
        ("sessions", 10, AT + 1, False),
    ],
)
def test_a_swept_erasure_takes_what_may_be_from_before_it(kind, offset, at, is_erased):
    assert ErasedUsers(swept={"u": AT}).holds(Spooled(kind, 0, offset, at, "u", b""), BEGINS) == is_erased
